"""All of Django's settings, composed from the environment.  The only place that reads it."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from panel.settings.database import database
from panel.settings.env import Env, require
from panel.settings.logging import configuration

BASE_DIR = Path(__file__).resolve().parents[2]
env = Env()

DATA_DIR = env.path("DATA_DIR", BASE_DIR / "var")
KEYS_DIR = env.path("KEYS_DIR", DATA_DIR / "keys")
MASTER_KEY_FILE = env.path("MASTER_KEY_FILE", KEYS_DIR / "master.key")
PUBLIC_KEY_FILE = env.path("PUBLIC_KEY_FILE", DATA_DIR / "master.pub")
LOCAL_BACKUPS_DIR = env.path("LOCAL_BACKUPS_DIR", DATA_DIR / "backups")
DOWNLOADS_DIR = env.path("DOWNLOADS_DIR", DATA_DIR / "downloads")
WORKSPACE_DIR = env.path("WORKSPACE_DIR", DATA_DIR / "workspace")
CACHE_DIR = env.path("CACHE_DIR", DATA_DIR / "cache")

PRODUCTION = env.flag("PRODUCTION", default=False)
DEBUG = env.flag("DEBUG", default=False)
SECRET_KEY = env.secret("SECRET_KEY")
SECRET_KEY_GIVEN = bool(SECRET_KEY)
if not SECRET_KEY:
    _file = DATA_DIR / "secret_key"
    if os.access(_file, os.R_OK):
        SECRET_KEY = _file.read_text().strip()
    elif _file.exists():
        raise ImproperlyConfigured(f"{_file} cannot be read by this user; give it to the panel's group.")
    elif PRODUCTION:
        raise ImproperlyConfigured("HOLDFAST_SECRET_KEY is not set; give it, or HOLDFAST_SECRET_KEY_FILE.")
    else:
        SECRET_KEY = secrets.token_urlsafe(50)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", () if PRODUCTION else ("127.0.0.1", "localhost", "[::1]", "testserver"))
CSRF_TRUSTED_ORIGINS = env.words("TRUSTED_ORIGINS")
for _origin in CSRF_TRUSTED_ORIGINS:
    env.url(_origin, "TRUSTED_ORIGINS", ("https", "http"))
if PRODUCTION:
    require(not DEBUG, "HOLDFAST_DEBUG and HOLDFAST_PRODUCTION exclude each other; take HOLDFAST_DEBUG out.")
    require(
        ALLOWED_HOSTS, "HOLDFAST_ALLOWED_HOSTS is empty; write the names the panel is reached by, such as b.example."
    )
    require(
        len(SECRET_KEY) >= 50, "HOLDFAST_SECRET_KEY is too short; write at least 50 characters that nobody guesses."
    )

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "template_partials.apps.SimpleAppConfig",
    "csp",
    "axes",
    "panel.audit",
    "panel.options",
    "panel.accounts",
    "panel.ui",
    "worker",
    "destinations",
    "backups",
    "restores",
    "notifications",
    "panel.web",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "panel.ui.middleware.RequestIdMiddleware",
    "panel.accounts.sessions.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "panel.accounts.middleware.ActingMiddleware",
    "panel.ui.middleware.SignInRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "panel.urls"
WSGI_APPLICATION = "panel.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "panel.web.context.shell",
            ],
            "builtins": ["panel.ui.templatetags.panel", "template_partials.templatetags.partials"],
            "loaders": [
                (
                    "template_partials.loader.Loader",
                    [
                        (
                            "django.template.loaders.cached.Loader",
                            [
                                "django.template.loaders.filesystem.Loader",
                                "django.template.loaders.app_directories.Loader",
                            ],
                        )
                    ],
                )
            ],
        },
    }
]

DATABASES = {"default": database(env.text("DATABASE_URL"), DATA_DIR, env.secret("DATABASE_PASSWORD"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
BROKER_SOCKET = DATA_DIR / "run" / "broker.sock"
REDIS_URL = env.url(env.secret("REDIS_URL", f"unix://{BROKER_SOCKET}?db=0"), "REDIS_URL", ("redis", "rediss", "unix"))
EMBEDDED_BROKER = REDIS_URL.startswith("unix://") and str(BROKER_SOCKET) in REDIS_URL
WORKER_PROCESSES = env.number("WORKER_PROCESSES", 4, low=1, high=64)
WEB_PROCESSES = env.number("WEB_PROCESSES", 1, low=1, high=32)
LISTEN_HOST = env.text("LISTEN_HOST", "127.0.0.1")
LISTEN_PORT = env.number("LISTEN_PORT", 8000, low=1, high=65535)
SAMPLE = env.flag("SAMPLE", default=True)
SESSION_CGROUP = env.text("SESSION_CGROUP")
WORKER_NAME = env.label("WORKER_NAME", socket.gethostname())
WORKER_QUEUE = env.label("WORKER_QUEUE", "server.local")

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "panel.accounts.backends.NameOrMailBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PASSWORD_HASHERS = ["panel.accounts.hashers.SmallArgon2Hasher"]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_CALLABLE = "panel.accounts.lockout.refused"
PROXIES = env.number("PROXIES", 0, low=0, high=5)
AXES_CLIENT_IP_CALLABLE = "panel.core.addresses.client_address"
LOGIN_URL = "accounts:sign_in"
LOGIN_REDIRECT_URL = "panel:overview"

SESSION_ENGINE = "panel.accounts.sessions"
SESSION_COOKIE_NAME = "holdfast_session"
SESSION_COOKIE_AGE = 14 * 86400
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = False
CSRF_COOKIE_NAME = "holdfast_csrf"
CSRF_FAILURE_VIEW = "panel.web.errors.csrf_failure"
TLS = env.flag("TLS", default=PRODUCTION)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = TLS
SECURE_SSL_REDIRECT = TLS and env.flag("TLS_REDIRECT", default=True)
SECURE_HSTS_SECONDS = 31536000 if TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = TLS
SECURE_REFERRER_POLICY = "same-origin"
SECURE_REDIRECT_EXEMPT = [r"^health$"]
if PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "manifest-src": [SELF],
    }
}

LANGUAGE_CODE = "en-us"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = env.path("STATIC_ROOT", DATA_DIR / "static")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
LOGGING = configuration(
    env.choice("LOG_STYLE", "json" if PRODUCTION else "plain", ("json", "plain")),
    env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
)
PANEL_URL = env.text("PANEL_URL")
EMAIL_HOST = env.text("EMAIL_HOST")
EMAIL_PORT = env.number("EMAIL_PORT", 25, low=1, high=65535)
EMAIL_HOST_USER = env.text("EMAIL_USER")
EMAIL_HOST_PASSWORD = env.secret("EMAIL_PASSWORD")
EMAIL_USE_TLS = env.flag("EMAIL_TLS", default=False)
EMAIL_USE_SSL = env.flag("EMAIL_SSL", default=False)
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", "holdfast@localhost")
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

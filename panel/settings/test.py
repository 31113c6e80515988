"""Settings of the tests: SQLite in memory, quick hashing, no compression of static files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_data = Path(tempfile.gettempdir()) / f"holdfast-tests-{os.getpid()}"
os.environ["HOLDFAST_DATA_DIR"] = str(_data)
os.environ.setdefault("HOLDFAST_SECRET_KEY", "only-for-tests")

from panel.settings import *  # noqa: E402, F403
from panel.settings import DATABASES, env  # noqa: E402

if not env.text("DATABASE_URL"):
    DATABASES["default"]["NAME"] = ":memory:"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
WHITENOISE_AUTOREFRESH = True

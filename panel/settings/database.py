"""The database: PostgreSQL by URL, or SQLite in a file of the data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_SQLITE_START = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-16000;"


def database(url: str, data: Path, password: str = "") -> dict[str, Any]:
    """Return Django's settings for ``postgresql://user@host:port/name``, or for SQLite when ``url`` is empty.

    A password given by itself wins over one in the URL.
    """
    if not url:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(data / "db" / "panel.sqlite3"),
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": _SQLITE_START},
        }
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError:
        raise ImproperlyConfigured("HOLDFAST_DATABASE_URL has a port that is no number from 1 to 65535.") from None
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise ImproperlyConfigured(
            "HOLDFAST_DATABASE_URL must read postgresql://user@host:port/name; leave it empty for SQLite."
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.strip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": password or unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": port,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }

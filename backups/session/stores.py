"""Opening the place a repository is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from destinations.storage.base import ObjectStore
from destinations.storage.config import LocalConfig, from_plain
from destinations.storage.errors import BadConfig
from destinations.storage.local import LocalStore


def open_store(plain: dict[str, Any], path: str) -> ObjectStore:
    """Return the store of a destination, narrowed to a repository's path.  BadConfig."""
    config = from_plain(plain)
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise BadConfig(f"{path!r} is no path of a repository")
    if isinstance(config, LocalConfig):
        return LocalStore(Path(config.path) / path)
    raise BadConfig("this kind of destination cannot be used yet")

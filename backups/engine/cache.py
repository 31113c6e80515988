"""A local copy of what every run reads: index, snapshots, tree packs, and the table made of the index.

Keyed by the repository's id; safe to delete at any time; what does not match its name is fetched again.
Where the repository is on a local disk only the table is kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from backups.engine.layout import Kind, is_id


def default_root() -> Path:
    """Return the folder for all caches of this user: ``$XDG_CACHE_HOME/holdfast`` or ``~/.cache/holdfast``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "holdfast"


_LEFT_SECONDS = 86_400


class Cache:
    """The cached files of one repository below ``root``.  Every failure to write is silent: a cache is a help."""

    def __init__(self, root: Path, repository_id: str) -> None:
        self.folder = root / repository_id
        self.table_path = self.folder / "index.table"

    def _path(self, kind: Kind, object_id: str) -> Path:
        return self.folder / kind / object_id[:2] / object_id

    def read(self, kind: Kind, object_id: str, offset: int = 0, length: int | None = None) -> bytes | None:
        """Return the asked bytes of a cached object, or None if it is not here or too short."""
        try:
            with open(self._path(kind, object_id), "rb") as file:
                file.seek(offset)
                data = file.read() if length is None else file.read(length)
        except OSError:
            return None
        return data if length is None or len(data) == length else None

    def write(self, kind: Kind, object_id: str, data: bytes) -> None:
        """Keep an object, if its bytes match its name."""
        if sha256(data).hexdigest() != object_id:
            return
        path = self._path(kind, object_id)
        temporary = path.with_name(f"{object_id}-tmp-{os.urandom(4).hex()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(data)
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def remove(self, kind: Kind, object_id: str) -> None:
        """Forget one object."""
        try:
            self._path(kind, object_id).unlink(missing_ok=True)
        except OSError:
            return

    def keep_only(self, kind: Kind, object_ids: Collection[str]) -> None:
        """Forget every object of a kind that is not in ``object_ids``, and what writers that were killed left."""
        for path in (self.folder / kind).glob("*/*"):
            if path.name not in object_ids and (is_id(path.name) or self._is_left(path)):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    @staticmethod
    def _is_left(path: Path) -> bool:
        try:
            return "-tmp-" in path.name and time.time() - path.stat().st_mtime > _LEFT_SECONDS
        except OSError:
            return False

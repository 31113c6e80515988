"""Nowhere: everything is read and verified, nothing is written."""

from __future__ import annotations

from backups.engine import Entry, Found, TargetProblem


class NullTarget:
    """Takes every file and keeps none.  A restore into it proves that all content can be had."""

    forkable = True

    def folder(self, path: bytes, *, fresh: bool = False) -> NullFolder:
        """Every folder is there, and empty."""
        return NullFolder()

    def close(self) -> None:
        """Nothing to free."""


class NullFolder:
    """An empty folder that stays so."""

    fresh = True

    def found(self) -> dict[bytes, Found]:
        return {}

    def old_file(self, name: bytes) -> NullFile:
        raise TargetProblem("nothing stands in this target")

    def create(self, entry: Entry, size: int | None = None, *, shared: bool = False) -> NullFile:
        return NullFile()

    def put(self, entry: Entry, data: bytes) -> None:
        """Forget it: the engine compared it with its hash."""

    def join(self, token: bytes) -> NullFile:
        return NullFile()

    def update(self, entry: Entry) -> bool:
        return True

    def make(self, entry: Entry) -> bool:
        return True

    def make_folder(self, name: bytes) -> bool:
        return True

    def link(self, name: bytes, first: bytes) -> None:
        """Nothing to do."""

    def remove(self, name: bytes) -> int:
        return 0

    def finish(self, entry: Entry) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to free."""


class NullFile:
    """A file that forgets what is written to it."""

    token = b""
    size = 0

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Forget it: the engine compared it with its hash."""

    def read(self, offset: int, length: int) -> bytes:
        raise TargetProblem("a target that keeps nothing cannot be read back")

    def finish(self, entry: Entry) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to free."""

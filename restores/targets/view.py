"""A folder that is only looked at: what a restore would find there.  Nothing is made, written or followed."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from backups.engine import Found
from restores.targets.beneath import FOLDER, Opener
from restores.targets.folder import found_in
from restores.targets.paths import components


class FolderView:
    """The tree below ``path``/``below``; links in ``path`` count, in ``below`` and further down none does.

    Raises OSError if it is not there.
    """

    def __init__(self, path: bytes, *, below: bytes = b"") -> None:
        self._top = os.open(path, FOLDER & ~os.O_NOFOLLOW)
        try:
            for part in components(below):
                deeper = os.open(part, FOLDER, dir_fd=self._top)
                os.close(self._top)
                self._top = deeper
        except BaseException:
            self.close()
            raise
        self._opener = Opener(self._top)

    def folder(self, path: bytes, *, fresh: bool = False) -> ViewedFolder:
        """Open a folder of the tree.  OSError."""
        return ViewedFolder(self._opener.folder(path))

    def kind(self, path: bytes) -> str:
        """Return what is at a path: ``dir``, ``other``, or nothing at all (empty)."""
        with suppress(OSError):
            fd = self._opener.item(path)
            try:
                return "dir" if stat.S_ISDIR(os.fstat(fd).st_mode) else "other"
            finally:
                os.close(fd)
        return ""

    def free(self) -> int:
        """Return the bytes that may still be written there."""
        room = os.fstatvfs(self._top)
        return room.f_bavail * room.f_frsize

    def close(self) -> None:
        """Close the top folder."""
        if self._top >= 0:
            os.close(self._top)
            self._top = -1


class ViewedFolder:
    """A folder of the tree, held by its descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def found(self) -> dict[bytes, Found]:
        """List what is there, but for sockets."""
        return found_in(self._fd, sockets=False)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)

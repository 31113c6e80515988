"""How much disk and how many inodes a home uses, measured by us.

The walk looks at names and sizes only, never at contents, follows no link and does not leave the file system it
began on.  A file with several links counts once.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 512


class UsageError(Exception):
    """The folder cannot be measured; the text says why."""


@dataclass(frozen=True, slots=True)
class Usage:
    """``complete`` is False when a folder could not be opened or the time was over."""

    disk_bytes: int
    inodes: int
    complete: bool


def measure(home: str, *, seconds: float = 600.0) -> Usage:
    """Return what ``home`` uses: bytes on disk (allocated blocks) and inodes.  UsageError for no folder."""
    try:
        device = Path(home).lstat().st_dev
    except OSError as error:
        raise UsageError(f"{home} cannot be looked at: {error.strerror}.") from error
    walk = _Walk(device, time.monotonic() + seconds)
    try:
        for _, folders, files, fd in os.fwalk(home, follow_symlinks=False, onerror=walk.gap):
            if not walk.folder(fd, folders, files):
                break
    except (RecursionError, OSError):
        walk.complete = False
    if not walk.inodes:
        raise UsageError(f"{home} is not a folder, or cannot be opened.")
    return Usage(walk.disk, walk.inodes, walk.complete)


class _Walk:
    def __init__(self, device: int, deadline: float) -> None:
        self.disk = self.inodes = 0
        self.complete = True
        self._device, self._deadline = device, deadline
        self._linked: set[int] = set()

    def gap(self, _error: OSError) -> None:
        self.complete = False

    def folder(self, fd: int, folders: list[str], files: list[str]) -> bool:
        """Count a folder and what is in it but not below; False when the time is over."""
        own = os.fstat(fd)
        if own.st_dev != self._device:
            folders.clear()
            return True
        self._count(own)
        for name in [*files, *folders]:
            try:
                got = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError:
                self.complete = False
                continue
            if not stat.S_ISDIR(got.st_mode):
                self._count(got)
        if time.monotonic() > self._deadline:
            self.complete = False
            return False
        return True

    def _count(self, got: os.stat_result) -> None:
        if got.st_nlink > 1 and not stat.S_ISDIR(got.st_mode):
            if got.st_ino in self._linked:
                return
            self._linked.add(got.st_ino)
        self.disk += got.st_blocks * _BLOCK
        self.inodes += 1

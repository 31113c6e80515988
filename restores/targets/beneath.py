"""Opening what lies below a folder without ever following a link, in a tree whose owner changes it meanwhile.

The kernel's ``openat2`` does it in one call; where it is missing or refused, every component is opened
relative to its parent with no-follow.
"""

from __future__ import annotations

import ctypes
import errno
import os

from restores.targets.paths import components

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPENAT2 = 437
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_LONGEST = 4000
"""Bytes of a path the kernel takes in one call."""
_UNUSABLE = {errno.ENOSYS, errno.EPERM, errno.E2BIG, errno.EINVAL}


class _How(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


class Opener:
    """Opens folders below the one ``root`` is a descriptor of.  ``quick`` False walks where ``openat2`` would do."""

    def __init__(self, root: int, *, quick: bool = True) -> None:
        self._root = root
        self._quick = quick

    def folder(self, path: bytes) -> int:
        """Return a descriptor of the folder at ``path`` (``a/b``); OSError, TargetProblem for a path that is none."""
        parts = components(path)
        if not parts:
            return os.open(b".", FOLDER, dir_fd=self._root)
        if self._quick and len(path) < _LONGEST:
            found = self._openat2(path)
            if found >= 0:
                return found
        return self._walk(parts, FOLDER)

    def item(self, path: bytes) -> int:
        """Return a descriptor of whatever is at ``path`` that only identifies it (O_PATH), itself a link or not."""
        *parts, name = components(path)
        parent = self._walk(parts, _STEP) if parts else os.dup(self._root)
        try:
            return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        finally:
            os.close(parent)

    def _openat2(self, path: bytes) -> int:
        """Return a descriptor, or -1 if this way does not work here and now."""
        how = _How(FOLDER, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
        found = _syscall(_OPENAT2, self._root, path, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
        if found >= 0:
            return int(found)
        number = ctypes.get_errno()
        if number in _UNUSABLE:
            self._quick = False
        elif number != errno.EAGAIN:
            raise OSError(number, os.strerror(number), path)
        return -1

    def _walk(self, parts: list[bytes], last: int) -> int:
        here = os.dup(self._root)
        try:
            for number, part in enumerate(parts, 1):
                below = os.open(part, last if number == len(parts) else _STEP, dir_fd=here)
                os.close(here)
                here = below
        except BaseException:
            os.close(here)
            raise
        return here

"""What a folder lists and what a small file holds, each in one native call where it was built, otherwise in Python.

Both ways open relative to a descriptor, never through a link, and take a file's bytes only if it is before and after
what was listed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from errno import ENODATA, ENOTSUP
from typing import Any

from backups.engine import ENTRY_KINDS, Entry, load_native

FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
NO_XATTR = {ENOTSUP, ENODATA}

_native: Any = load_native("backups.sources._listing")

Failed = Callable[[bytes, OSError], None]


def entry_of(name: bytes, info: os.stat_result) -> Entry | None:
    """Return the entry of a stat result, or None for what is never stored (sockets, unknown types)."""
    kind = ENTRY_KINDS.get(info.st_mode & 0o170000)
    if kind is None:
        return None
    return Entry(
        name,
        kind,
        info.st_mode,
        info.st_mtime_ns,
        info.st_ctime_ns,
        info.st_uid,
        info.st_gid,
        info.st_ino,
        info.st_dev,
        info.st_size if kind == "file" else 0,
        info.st_nlink,
        info.st_rdev,
    )


def list_folder(fd: int, failed: Failed) -> tuple[list[Entry], bool]:
    """Return the items of an open folder, sorted by name, and whether all of them are plain files and folders.

    Links are without their targets.  ``failed(name, error)`` is told of items that cannot be asked.  Raises OSError.
    """
    if _native is None:
        return _list_slowly(fd, failed)
    items, odd = _native.list_folder(fd, ENTRY_KINDS, Entry)
    if odd:
        items = [entry for item in items if (entry := _settled(fd, item, failed)) is not None]
    return items, not odd


def _settled(fd: int, item: Entry | tuple[bytes, int], failed: Failed) -> Entry | None:
    """Return an item, asked again in Python if it has times beyond the native part's numbers, or None if it failed."""
    if isinstance(item, Entry):
        return item
    name, errno = item
    try:
        if errno > 0:
            raise OSError(errno, os.strerror(errno), name)
        return entry_of(name, os.stat(name, dir_fd=fd, follow_symlinks=False))
    except OSError as error:
        failed(name, error)
        return None


def _list_slowly(fd: int, failed: Failed) -> tuple[list[Entry], bool]:
    found: list[Entry] = []
    with os.scandir(fd) as listing:
        for item in listing:
            name = os.fsencode(item.name)
            try:
                entry = entry_of(name, item.stat(follow_symlinks=False))
            except OSError as error:
                failed(name, error)
                continue
            if entry is not None:
                found.append(entry)
    found.sort(key=_name)
    return found, False


def _name(entry: Entry) -> bytes:
    return entry.name


native_slurp: Callable[..., bytes | None] | None = getattr(_native, "slurp", None)
"""The bytes of a small regular file that is, before and after reading, just what was listed.

``native_slurp(folder's descriptor, name, flags, O_NOATIME or 0, inode, device, size, mtime, ctime, single, xattrs)``.
None for whatever is not as simple: it changed, cannot be opened, has extended attributes though ``xattrs`` are wanted,
or several links though only a ``single`` one is.  OverflowError for a time beyond 64 bits of nanoseconds.
"""


def read_xattrs(path: bytes | int, *, follow: bool = False) -> Sequence[tuple[bytes, bytes | None]]:
    """Return the extended attributes of a path or descriptor in the kernel's order.  OSError if it may not be asked."""
    try:
        names = os.listxattr(path) if isinstance(path, int) or follow else os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in NO_XATTR:
            return ()
        raise
    if not names:
        return ()
    found: list[tuple[bytes, bytes | None]] = []
    for name in names:
        try:
            value = (
                os.getxattr(path, name)
                if isinstance(path, int) or follow
                else os.getxattr(path, name, follow_symlinks=False)
            )
        except OSError as error:
            if error.errno not in NO_XATTR:
                raise
            found.append((os.fsencode(name), None))
        else:
            found.append((os.fsencode(name), value))
    return found

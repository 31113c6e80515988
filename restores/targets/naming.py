"""How a finished item takes its name in a folder: all at once, in the place of whatever file has it."""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EISDIR, ENOTEMPTY
from secrets import token_hex

from backups.engine import TargetProblem


def temporary_name() -> bytes:
    """Return a name that nothing has."""
    return b".holdfast-%s.tmp" % token_hex(8).encode()


def give_name(folder: int, fd: int, name: bytes) -> None:
    """Give an open file that may have no name yet the name ``name`` in the folder, by its descriptor."""
    path = f"/proc/self/fd/{fd}"
    try:
        os.link(path, name, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        temporary = temporary_name()
        os.link(path, temporary, dst_dir_fd=folder, follow_symlinks=True)
        take_name(folder, temporary, folder, name)


def take_name(shop: int, temporary: bytes, folder: int, name: bytes) -> None:
    """Rename a temporary item of ``shop`` to ``name`` of ``folder``; if that fails, remove it."""
    try:
        os.rename(temporary, name, src_dir_fd=shop, dst_dir_fd=folder)
    except BaseException as error:
        drop_name(shop, temporary)
        if isinstance(error, OSError) and error.errno in (EISDIR, ENOTEMPTY):
            raise TargetProblem("a folder is in the way") from error
        raise


def drop_name(folder: int, name: bytes) -> None:
    """Remove a name, if it is there and may be removed."""
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)

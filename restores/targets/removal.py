"""Removing a tree that its owner may be changing: no link is followed, and no depth is too deep."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from errno import EEXIST, EISDIR, ENOTDIR, ENOTEMPTY, EPERM

from restores.targets.beneath import FOLDER
from restores.targets.files import Lift, no_lift
from restores.targets.naming import temporary_name

_NOT_EMPTY = {ENOTEMPTY, EEXIST}
_IS_FOLDER = {EISDIR, EPERM}
_ROUNDS = 10_000
"""Levels of folders; whoever keeps adding files while we remove them does not keep us for ever."""


def remove(folder: int, name: bytes, lift: Lift = no_lift) -> int:
    """Remove ``name`` from the folder, with everything below it; return how many items went.  Raises OSError.

    ``lift`` stands around what changes the folder itself, and around nothing below it.
    """
    try:
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    if not stat.S_ISDIR(info.st_mode):
        with lift():
            os.unlink(name, dir_fd=folder)
        return 1
    top = os.open(name, FOLDER, dir_fd=folder)
    try:
        removed = _clear(top)
    finally:
        os.close(top)
    with lift():
        os.rmdir(name, dir_fd=folder)
    return removed + 1


def _clear(top: int) -> int:
    """Empty a folder.  What its folders hold is moved up into it, so that no depth costs memory or descriptors."""
    removed = 0
    for _ in range(_ROUNDS):
        names = [os.fsencode(item) for item in os.listdir(top)]
        if not names:
            break
        for name in names:
            if _unlinked(top, name):
                removed += 1
                continue
            below = os.open(name, FOLDER, dir_fd=top)
            try:
                removed += _lift(below, top)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=top)
            removed += 1
    return removed


def _lift(below: int, top: int) -> int:
    """Remove the files and empty folders of ``below``, and move its other folders into ``top``."""
    removed = 0
    for name in map(os.fsencode, os.listdir(below)):
        if _unlinked(below, name):
            removed += 1
        else:
            os.rename(name, temporary_name(), src_dir_fd=below, dst_dir_fd=top)
    return removed


def _unlinked(folder: int, name: bytes) -> bool:
    """Remove a file or an empty folder; False for a folder that holds something."""
    with suppress(FileNotFoundError):
        try:
            os.unlink(name, dir_fd=folder)
        except OSError as error:
            if error.errno not in _IS_FOLDER:
                raise
            try:
                os.rmdir(name, dir_fd=folder)
            except OSError as inner:
                if inner.errno in _NOT_EMPTY:
                    return False
                raise error if inner.errno == ENOTDIR else inner from None
    return True

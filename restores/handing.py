"""Handing a finished archive out: from where it was built to where pages take it from, which may be another disk."""

from __future__ import annotations

import os
import time
from errno import EXDEV
from pathlib import Path

from worker.context import Figures, ItemContext

MOVING = "moving the archive among the downloads"
_CHUNK = 4 << 20
_ASK_EVERY = 0.5
"""Seconds between two looks at whether somebody asked to stop."""


class Stopped(Exception):
    """Somebody asked to stop, or the item is no longer ours."""


def hand_out(file: Path, folder: Path, context: ItemContext) -> None:
    """Move an archive to ``folder``, for the owner of that folder; what does not get there whole is nowhere.

    On another disk it is copied, with a heartbeat and progress all the while.  Stopped, OSError.
    """
    info = folder.stat()
    if os.geteuid() == 0:
        os.chown(file, info.st_uid, info.st_gid)
    place = folder / file.name
    if _renamed(file, place):
        return
    try:
        _copy(file, place, context)
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    file.unlink()


def _renamed(file: Path, place: Path) -> bool:
    """Rename a file; False if its new place is on another disk."""
    try:
        file.rename(place)
    except OSError as error:
        if error.errno == EXDEV:
            return False
        raise
    return True


def _copy(file: Path, place: Path, context: ItemContext) -> None:
    source = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        info = os.fstat(source)
        target = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if os.geteuid() == 0:
                os.fchown(target, info.st_uid, info.st_gid)
            _pump(source, target, info.st_size, context)
            os.fsync(target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _pump(source: int, target: int, size: int, context: ItemContext) -> None:
    files, done, asked = context.figures.files_done, 0, time.monotonic()
    while data := os.read(source, _CHUNK):
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
        done += len(data)
        context.progress(Figures(done, size, files, MOVING))
        if not context.tick():
            raise Stopped
        if _looks_at(time.monotonic() - asked):
            asked = time.monotonic()
            if context.canceled():
                raise Stopped


def _looks_at(seconds: float) -> bool:
    """Tell whether it is time to see if somebody asked to stop."""
    return seconds >= _ASK_EVERY

"""What must not be inherited by a forked child: locks that another thread may hold, connections of the parent."""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Has state that a forked child must replace before using it."""

    def renew_after_fork(self) -> None: ...


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Have ``thing.renew_after_fork()`` called in every child that this process forks while ``thing`` lives."""
    _renewables.add(thing)


def _renew_all() -> None:
    for thing in tuple(_renewables):
        thing.renew_after_fork()


os.register_at_fork(after_in_child=_renew_all)


class SharedLock:
    """Keeps threads and processes apart that share an open file; the kernel takes it back when its holder is killed."""

    def __init__(self, file: int) -> None:
        self._file = file
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Replace the lock of the threads, which another thread of the parent may have held."""
        self._threads = threading.Lock()

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
        except BaseException:
            self._threads.release()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_UN)
        finally:
            self._threads.release()

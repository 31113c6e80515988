"""A number of connections that all processes of a machine share."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path

from destinations.storage.forking import renew_after_fork

_WAITING = 1000


class Places:
    """Places to connect from: as many as there are, whoever of this machine asks.

    Each is a byte of a file that is locked while the place is taken; the kernel takes back what a killed process
    held.  A forked child has none of its parent's places.
    """

    def __init__(self, file: Path, count: int) -> None:
        """Share ``count`` places (at most 999) through ``file``, which is made if it is not there."""
        if not 0 < count < _WAITING:
            raise ValueError(f"not a number of places: {count}")
        self._count = count
        self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Hold nothing: record locks stay with the parent."""
        self._lock = threading.Lock()
        self._held: set[int] = set()
        self._waiters = 0

    def try_take(self) -> int | None:
        """Return the number of a place that was free, or None."""
        with self._lock:
            for place in range(self._count):
                if place in self._held:
                    continue
                try:
                    fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                except OSError:
                    continue
                self._held.add(place)
                return place
        return None

    def give(self, place: int) -> None:
        """Give a place back."""
        with self._lock:
            if place in self._held:
                self._held.discard(place)
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def wanted(self) -> bool:
        """Say whether another process waits for a place."""
        with self._lock:
            if self._waiters:
                return False
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _WAITING)
            except OSError:
                return True
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _WAITING)
            return False

    def wait_for_one(self) -> None:
        """Let other processes see that somebody here waits for a place."""
        with self._lock:
            self._waiters += 1
            # Refused only while somebody asks; then they are told a moment later.
            with suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, _WAITING)

    def wait_no_more(self) -> None:
        """Take that back."""
        with self._lock:
            self._waiters -= 1
            if not self._waiters:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _WAITING)

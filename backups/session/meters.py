"""What goes through a session's store, counted over all its processes."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable

from destinations.storage.forking import SharedLock
from destinations.storage.wrappers.metered import Meter

_SUMS = struct.Struct("=QQQ")


class SharedMeter(Meter):
    """Adds up bytes sent, bytes received and requests in memory that forked children share.

    A child that is killed has told all that it finished.  The lock is one that the kernel takes back.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("meter", os.MFD_CLOEXEC)
        os.ftruncate(self._file, _SUMS.size)
        self._shared = mmap.mmap(self._file, _SUMS.size)
        self._lock = SharedLock(self._file)
        self._requests: Callable[[], int] | None = None
        self._seen = 0
        super().__init__()

    def renew_after_fork(self) -> None:
        """Go on with the sums; the driver's own count begins at zero in a child."""
        super().renew_after_fork()
        self._seen = 0

    def watch(self, requests: Callable[[], int]) -> None:
        """Count the requests that a driver makes to its server, instead of calls of the store."""
        self._requests = requests

    def count(self, verb: str, *, sent: int = 0, received: int = 0, failed: bool = False) -> None:
        """Add one call."""
        del verb, failed
        with self._lock:
            before = _SUMS.unpack_from(self._shared)
            more = (sent, received, self._new_requests())
            _SUMS.pack_into(self._shared, 0, *(a + b for a, b in zip(before, more, strict=True)))

    def take_sums(self) -> tuple[int, int, int]:
        """Return bytes sent, bytes received and requests since the last time, of all processes."""
        with self._lock:
            sums = _SUMS.unpack_from(self._shared)
            _SUMS.pack_into(self._shared, 0, 0, 0, 0)
        return sums

    def _new_requests(self) -> int:
        if self._requests is None:
            return 1
        now = self._requests()
        new, self._seen = now - self._seen, now
        return new

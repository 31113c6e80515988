"""Keeps a destination from being filled beyond its disk limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from destinations.storage.base import Data, ObjectStore, ReportsCapacity, size_of
from destinations.storage.errors import CapacityUnknown, DiskLimitReached
from destinations.storage.forking import renew_after_fork
from destinations.storage.wrappers.base import Wrapper

_LOOK_EVERY = 30.0
_LOOK_AFTER_BYTES = 1 << 30


class DiskGuardedStore(Wrapper):
    """Refuses puts once so many percent of the space are used.

    Some folders stay open, so that a run that meets the limit can still record what it has stored.
    """

    def __init__(
        self,
        inner: ObjectStore,
        percent: int,
        *,
        open_folders: Collection[str] = ("locks", "index", "snapshots"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Guard ``inner``; 0 percent, or a server that cannot tell its space, = no limit."""
        super().__init__(inner)
        self._percent, self._open_folders, self._clock = percent, frozenset(open_folders), clock
        self._used = 0.0
        self._look_at, self._bytes_left = float("-inf"), 0
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread of the parent may have held."""
        self._lock = threading.Lock()

    def put(self, key: str, data: Data) -> None:
        """Pass on, or raise DiskLimitReached."""
        if self._percent and not self._open_folders.intersection(key.split("/")[:-1]):
            used = self._used_now(size_of(data))
            if used >= self._percent:
                text = f"{used:.0f} % of the destination's space are used, and the limit is {self._percent} %"
                raise DiskLimitReached(text, key=key)
        self._inner.put(key, data)

    def _used_now(self, size: int) -> float:
        """Return the used share in percent, asked anew now and then."""
        with self._lock:
            self._bytes_left -= size
            now = self._clock()
            if now >= self._look_at or self._bytes_left <= 0 or self._used >= self._percent:
                self._used = self._ask()
                self._look_at, self._bytes_left = now + _LOOK_EVERY, _LOOK_AFTER_BYTES
            return self._used

    def _ask(self) -> float:
        if not isinstance(self._inner, ReportsCapacity):
            return 0.0
        try:
            total, free = self._inner.capacity()
        except CapacityUnknown:
            return 0.0
        return 100.0 * (total - free) / total if total else 0.0

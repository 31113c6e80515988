"""A store that refuses writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from destinations.storage.base import ObjectStore
from destinations.storage.errors import ReadOnlyStore
from destinations.storage.wrappers.base import Wrapper

T = TypeVar("T")
_WRITES = frozenset({"put", "delete", "prepare", "lock_until"})


class WriteProtectedStore(Wrapper):
    """Raises ReadOnlyStore for every write, except to locks if they are allowed."""

    def __init__(self, inner: ObjectStore, *, allow_locks: bool = False) -> None:
        """Protect ``inner``; ``allow_locks`` lets ``locks/…`` pass, below any folder."""
        super().__init__(inner)
        self._allow_locks = allow_locks

    def _call(self, verb: str, key: str, call: Callable[[], T]) -> T:
        if verb in _WRITES and not (self._allow_locks and "locks" in key.split("/")[:-1]):
            raise ReadOnlyStore(f"{verb} {key}: the destination is read-only".replace("  ", " "), key=key)
        return call()

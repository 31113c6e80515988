"""At most so many calls at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from destinations.storage.base import Capabilities, ObjectInfo, ObjectStore
from destinations.storage.forking import renew_after_fork
from destinations.storage.wrappers.base import Wrapper

T = TypeVar("T")
_LISTED_A_TURN = 1000


class LimitedStore(Wrapper):
    """Makes callers wait until one of the places is free.  In a forked child the places are the child's own."""

    def __init__(self, inner: ObjectStore, at_once: int) -> None:
        """Let ``at_once`` calls run at the same time; 0 = no limit."""
        super().__init__(inner)
        if at_once < 0:
            raise ValueError(f"not a number of calls: {at_once}")
        self._at_once = at_once
        self.renew_after_fork()
        renew_after_fork(self)

    @property
    def capabilities(self) -> Capabilities:
        return replace(self._inner.capabilities, connections=self._at_once)

    def renew_after_fork(self) -> None:
        """Free all places: the calls that hold them run in the parent."""
        self._places: AbstractContextManager[Any] = nullcontext()
        if self._at_once:
            self._places = threading.BoundedSemaphore(self._at_once)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Pass on; a place is taken only while the next lot is fetched, so that the caller may call in between."""
        found = self._call("list", prefix, lambda: self._inner.list(prefix))
        while lot := self._call("list", prefix, lambda: list(islice(found, _LISTED_A_TURN))):
            yield from lot

    def _call(self, verb: str, key: str, call: Callable[[], T]) -> T:
        with self._places:
            return call()

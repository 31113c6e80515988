"""Stores that misbehave on purpose, around any other store.

Each is deterministic: faults come at counted requests or from a seeded generator.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from destinations.storage.base import Data, ObjectInfo, ObjectStore, parts_of
from destinations.storage.errors import ObjectMissing, ShortRead, StoreError, StoreFull, StoreUnreachable
from destinations.storage.wrappers.base import Wrapper

T = TypeVar("T")
ALL_VERBS = frozenset({"put", "get", "stat", "list", "delete", "prepare", "capacity", "sha256"})


class Died(BaseException):
    """Stands for a SIGKILL: no ``except Exception`` of the code under test can catch it."""


def unreachable() -> StoreError:
    """The usual passing fault."""
    return StoreUnreachable("connection reset by the test")


class _Counting(Wrapper):
    """Numbers the requests from 1 on, over all threads."""

    def __init__(self, inner: ObjectStore, verbs: Collection[str] = ALL_VERBS) -> None:
        super().__init__(inner)
        self._verbs = frozenset(verbs)
        self._counting = threading.Lock()
        self.requests = 0

    def _number(self, verb: str) -> int:
        """Return the number of this request, or 0 if its verb is not counted."""
        if verb not in self._verbs:
            return 0
        with self._counting:
            self.requests += 1
            return self.requests


class CountingStore(_Counting):
    """Behaves well, and remembers every request as (verb, key)."""

    def __init__(self, inner: ObjectStore, verbs: Collection[str] = ALL_VERBS) -> None:
        super().__init__(inner, verbs)
        self.log: list[tuple[str, str]] = []

    def _call(self, verb: str, key: str, call: Callable[[], T]) -> T:
        if self._number(verb):
            self.log.append((verb, key))
        return call()


class FailingStore(_Counting):
    """Raises at chosen requests, or by chance; before the effect, or after it (the lost confirmation)."""

    def __init__(
        self,
        inner: ObjectStore,
        *,
        at: Collection[int] = (),
        from_request: int | None = None,
        chance: float = 0.0,
        seed: int = 0,
        after: bool = False,
        verbs: Collection[str] = ALL_VERBS,
        error: Callable[[], StoreError] = unreachable,
    ) -> None:
        super().__init__(inner, verbs)
        self._at, self._from, self._chance, self._after, self._error = frozenset(at), from_request, chance, after, error
        self._rng = random.Random(seed)
        self.faults = 0

    def _call(self, verb: str, key: str, call: Callable[[], T]) -> T:
        if not self._fails(self._number(verb)):
            return call()
        if self._after:
            call()
        self.faults += 1
        raise self._error()

    def _fails(self, number: int) -> bool:
        if not number:
            return False
        with self._counting:
            by_chance = self._rng.random() < self._chance
        return by_chance or number in self._at or (self._from is not None and number >= self._from)


class DyingStore(_Counting):
    """Raises Died at the n-th request, before or after its effect, and at every request from then on."""

    def __init__(self, inner: ObjectStore, at: int, *, after: bool = False, verbs: Collection[str] = ALL_VERBS) -> None:
        super().__init__(inner, verbs)
        self._at, self._after, self.dead = at, after, False

    def _call(self, verb: str, key: str, call: Callable[[], T]) -> T:
        number = self._number(verb)
        if self.dead:
            raise Died
        if number == self._at:
            self.dead = True
            if self._after:
                call()
            raise Died
        return call()


class LyingStore(_Counting):
    """Says "done" to chosen puts and stores nothing."""

    def __init__(
        self, inner: ObjectStore, *, at: Collection[int] = (), keys: Callable[[str], bool] | None = None
    ) -> None:
        super().__init__(inner, {"put"})
        self._at, self._keys = frozenset(at), keys
        self.swallowed: list[str] = []

    def put(self, key: str, data: Data) -> None:
        if self._number("put") in self._at or (self._keys is not None and self._keys(key)):
            self.swallowed.append(key)
            return
        self._inner.put(key, data)


class TruncatingStore(_Counting):
    """Stores chosen objects without their end, and says "done"."""

    def __init__(
        self,
        inner: ObjectStore,
        *,
        at: Collection[int] = (),
        keys: Callable[[str], bool] | None = None,
        keep: float = 0.5,
    ) -> None:
        super().__init__(inner, {"put"})
        self._at, self._keys, self._keep = frozenset(at), keys, keep
        self.truncated: list[str] = []

    def put(self, key: str, data: Data) -> None:
        if self._number("put") in self._at or (self._keys is not None and self._keys(key)):
            whole = b"".join(parts_of(data))
            self.truncated.append(key)
            data = whole[: int(len(whole) * self._keep)]
        self._inner.put(key, data)


class CorruptingStore(_Counting):
    """Returns chosen gets with one bit flipped; with ``always`` the same object is bad every time."""

    def __init__(
        self,
        inner: ObjectStore,
        *,
        at: Collection[int] = (),
        keys: Callable[[str], bool] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(inner, {"get"})
        self._at, self._keys = frozenset(at), keys
        self._rng = random.Random(seed)

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        whole = bytearray(self._inner.get(key, offset=offset, length=length))
        if whole and (self._number("get") in self._at or (self._keys is not None and self._keys(key))):
            with self._counting:
                place = self._rng.randrange(len(whole) * 8)
            whole[place // 8] ^= 1 << place % 8
        return bytes(whole)


class CutStore(Wrapper):
    """A connection that is cut after so many bytes, then works for as many again, and so on.

    The object that is under way is not stored; a get ends in ShortRead.
    """

    def __init__(self, inner: ObjectStore, *, after_bytes: int) -> None:
        super().__init__(inner)
        self._after, self._left = after_bytes, after_bytes
        self._lock = threading.Lock()
        self.cuts = 0

    def put(self, key: str, data: Data) -> None:
        self._spend(sum(part.nbytes for part in parts_of(data)), unreachable)
        self._inner.put(key, data)

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        got = self._inner.get(key, offset=offset, length=length)
        self._spend(len(got), lambda: ShortRead("cut by the test", key=key, temporary=True))
        return got

    def _spend(self, count: int, error: Callable[[], StoreError]) -> None:
        with self._lock:
            if count <= self._left:
                self._left -= count
                return
            self._left = max(self._after, count)
            self.cuts += 1
        raise error()


class FullStore(Wrapper):
    """Runs full: puts beyond so many bytes in all raise StoreFull; deleting gives room back."""

    def __init__(self, inner: ObjectStore, *, room: int) -> None:
        super().__init__(inner)
        self.room = room
        self._lock = threading.Lock()

    def put(self, key: str, data: Data) -> None:
        size = sum(part.nbytes for part in parts_of(data))
        with self._lock:
            if size > self.room:
                raise StoreFull("no space left, says the test", key=key)
            self.room -= size
        self._inner.put(key, data)

    def delete(self, key: str) -> None:
        try:
            size = self._inner.stat(key)
        except ObjectMissing:
            size = 0
        self._inner.delete(key)
        with self._lock:
            self.room += size


class LaggyStore(Wrapper):
    """Lists late: what was put or deleted shows in listings only after so many further requests."""

    def __init__(self, inner: ObjectStore, *, requests: int) -> None:
        super().__init__(inner)
        self._lag, self._now = requests, 0
        self._put_at: dict[str, int] = {}
        self._deleted: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def put(self, key: str, data: Data) -> None:
        super().put(key, data)
        with self._lock:
            self._put_at.setdefault(key, self._now)

    def delete(self, key: str) -> None:
        try:
            size = self._inner.stat(key)
        except ObjectMissing:
            size = -1
        super().delete(key)
        with self._lock:
            self._put_at.pop(key, None)
            if size >= 0:
                self._deleted[key] = (self._now, size)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        found = {info.key: info for info in super().list(prefix)}
        folder = prefix.rstrip("/")
        with self._lock:
            for key, moment in self._put_at.items():
                if self._now - moment <= self._lag:
                    found.pop(key, None)
            for key, (moment, size) in self._deleted.items():
                if self._now - moment <= self._lag and (not folder or key.startswith(f"{folder}/")):
                    found.setdefault(key, ObjectInfo(key, size))
        return iter(found.values())

    def _call(self, verb: str, key: str, call: Callable[[], T]) -> T:
        with self._lock:
            self._now += 1
        return call()

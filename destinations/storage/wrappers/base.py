"""What all wrappers share: pass every call on, and have just the optional abilities of what is wrapped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cache
from typing import Any, Self, TypeVar, cast

from destinations.storage.base import (
    Capabilities,
    CountsRequests,
    Data,
    HashesServerSide,
    LockPolicy,
    LocksObjects,
    ObjectInfo,
    ObjectStore,
    PreparesFolders,
    ReportsCapacity,
)

T = TypeVar("T")


class Wrapper:
    """A store around another.  A child overrides :meth:`_call` for all verbs, or single verbs.

    Callers find optional abilities with ``isinstance``; so an instance is made of a subclass with exactly the
    abilities that ``inner`` has.
    """

    _inner: ObjectStore

    def __new__(cls, inner: ObjectStore, *_args: Any, **_options: Any) -> Self:
        fitting = tuple(mixin for ability, mixin in _ABILITIES if isinstance(inner, ability))
        return cast(Self, object.__new__(_fitted(cast(Any, cls), fitting)))

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    def put(self, key: str, data: Data) -> None:
        """Pass on to the wrapped store."""
        self._call("put", key, lambda: self._inner.put(self._inner_key(key), data))

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Pass on to the wrapped store."""
        return self._call("get", key, lambda: self._inner.get(self._inner_key(key), offset=offset, length=length))

    def stat(self, key: str) -> int:
        """Pass on to the wrapped store."""
        return self._call("stat", key, lambda: self._inner.stat(self._inner_key(key)))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Pass on to the wrapped store."""
        return self._call("list", prefix, lambda: self._inner.list(self._inner_folder(prefix)))

    def delete(self, key: str) -> None:
        """Pass on to the wrapped store."""
        self._call("delete", key, lambda: self._inner.delete(self._inner_key(key)))

    def close(self) -> None:
        """Close the wrapped store."""
        self._inner.close()

    def _call(self, verb: str, key: str, call: Callable[[], T]) -> T:
        """Run one call of the wrapped store; ``verb`` is the name of its method."""
        del verb, key
        return call()

    def _inner_key(self, key: str) -> str:
        """Return the key under which the wrapped store knows ``key``."""
        return key

    def _inner_folder(self, folder: str) -> str:
        """Return the folder ("" for all) under which the wrapped store knows ``folder``."""
        return folder


class _Prepares(Wrapper):
    def prepare(self, folders: Iterable[str]) -> None:
        """Make folders ahead of the first put."""
        inner = cast(PreparesFolders, self._inner)
        names = [self._inner_folder(folder) for folder in folders]
        self._call("prepare", "", lambda: inner.prepare(names))


class _Reports(Wrapper):
    def capacity(self) -> tuple[int, int]:
        """Return (total bytes, free bytes)."""
        inner = cast(ReportsCapacity, self._inner)
        return self._call("capacity", "", inner.capacity)


class _Hashes(Wrapper):
    def sha256(self, key: str) -> str | None:
        """Return the digest by which the storage knows the object, if it does."""
        inner = cast(HashesServerSide, self._inner)
        return self._call("sha256", key, lambda: inner.sha256(self._inner_key(key)))


class _Locks(Wrapper):
    def lock_policy(self) -> LockPolicy:
        """Return what object lock is set to."""
        inner = cast(LocksObjects, self._inner)
        return self._call("lock_policy", "", inner.lock_policy)

    def lock_until(self, key: str, until: datetime) -> None:
        """Protect the object until then."""
        inner = cast(LocksObjects, self._inner)
        self._call("lock_until", key, lambda: inner.lock_until(self._inner_key(key), until))


class _Counts(Wrapper):
    def requests(self) -> int:
        """Return the number of requests that the driver made."""
        return cast(CountsRequests, self._inner).requests()


_ABILITIES: tuple[tuple[Any, type[Wrapper]], ...] = (
    (PreparesFolders, _Prepares),
    (ReportsCapacity, _Reports),
    (HashesServerSide, _Hashes),
    (LocksObjects, _Locks),
    (CountsRequests, _Counts),
)


@cache
def _fitted(cls: Any, abilities: tuple[type[Wrapper], ...]) -> type[Any]:
    return type(cls.__name__, (cls, *abilities), {"__module__": cls.__module__, "__doc__": cls.__doc__})

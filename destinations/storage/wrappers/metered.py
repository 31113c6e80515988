"""Counts what goes through a store."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from destinations.storage.base import Data, ObjectInfo, ObjectStore, size_of
from destinations.storage.errors import StoreError
from destinations.storage.forking import renew_after_fork
from destinations.storage.wrappers.base import Wrapper

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of objects sent and received, and the number of calls and of failed calls by verb."""

    sent: int = 0
    received: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)


class Meter:
    """Adds up the traffic of one or several stores.  In a forked child it starts from zero."""

    def __init__(self) -> None:
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Begin anew: the parent counts for itself."""
        self._lock = threading.Lock()
        self._sent = self._received = 0
        self._calls: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()

    def count(self, verb: str, *, sent: int = 0, received: int = 0, failed: bool = False) -> None:
        """Add one call."""
        with self._lock:
            self._calls[verb] += 1
            self._errors[verb] += failed
            self._sent += sent
            self._received += received

    def traffic(self) -> Traffic:
        """Return what was counted up to now."""
        with self._lock:
            return Traffic(self._sent, self._received, dict(self._calls), dict(+self._errors))

    def take(self) -> Traffic:
        """Return what was counted up to now, and start from zero: for adding up elsewhere."""
        with self._lock:
            taken = Traffic(self._sent, self._received, dict(self._calls), dict(+self._errors))
            self._sent = self._received = 0
            self._calls.clear()
            self._errors.clear()
        return taken


class MeteredStore(Wrapper):
    """Counts every call in a meter; bytes count when the call succeeded."""

    def __init__(self, inner: ObjectStore, meter: Meter) -> None:
        """Count the calls of ``inner`` in ``meter``."""
        super().__init__(inner)
        self._meter = meter

    def put(self, key: str, data: Data) -> None:
        """Pass on, and count the bytes sent."""
        self._counted("put", lambda: self._inner.put(key, data), sent=size_of(data))

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Pass on, and count the bytes received."""
        return self._counted("get", lambda: self._inner.get(key, offset=offset, length=length), received=len)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Pass on; a listing is one call."""
        failed = False
        try:
            yield from self._inner.list(prefix)
        except StoreError:
            failed = True
            raise
        finally:
            self._meter.count("list", failed=failed)

    def _call(self, verb: str, key: str, call: Callable[[], T]) -> T:
        return self._counted(verb, call)

    def _counted(
        self, verb: str, call: Callable[[], T], *, sent: int = 0, received: Callable[[T], int] | None = None
    ) -> T:
        try:
            result = call()
        except StoreError:
            self._meter.count(verb, failed=True)
            raise
        self._meter.count(verb, sent=sent, received=received(result) if received else 0)
        return result

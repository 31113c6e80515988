"""The test of a destination: the contract in small, step by step, against the customer's own server."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from destinations.storage.base import (
    Connects,
    CountsRequests,
    LocksObjects,
    ObjectStore,
    ReportsCapacity,
    ShowsCertificate,
)
from destinations.storage.errors import (
    CapacityUnknown,
    CertificateExpired,
    CertificateUntrusted,
    FingerprintMismatch,
    FingerprintUnknown,
    ObjectMissing,
    StoreError,
    TransferDamaged,
)

_CONTENT = 64 << 10
_SPEED_BYTES = 8 << 20


_DOUBTFUL_CERTIFICATE = (CertificateExpired.code, CertificateUntrusted.code)


@dataclass(frozen=True, slots=True)
class StepResult:
    """How one step went.  ``state`` is ``ok``, ``warning``, ``failed`` or ``skipped``."""

    name: str
    state: str
    seconds: float = 0.0
    detail: str = ""
    """What was found; of a failed step, the cause."""
    code: str = ""
    guidance: str = ""
    """The next step for the administrator."""
    fingerprint: str = ""
    """The identity that the server shows, when it has to be confirmed."""


class _Doubt(Exception):
    """A step worked, but something about it should be known."""

    def __init__(self, text: str, guidance: str) -> None:
        super().__init__(text)
        self.guidance = guidance


class Probe:
    """Runs the steps one by one; :meth:`run` yields each result as soon as it is known.

    A step that fails ends the test: what comes after it is skipped.  Whatever happened, the test's objects are
    removed.  ``read_only`` leaves out all that writes.
    """

    def __init__(
        self,
        open_store: Callable[[], ObjectStore],
        *,
        read_only: bool = False,
        locks: bool = True,
        clients: int = 4,
        speed_bytes: int = _SPEED_BYTES,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Test the stores that ``open_store`` makes; ``clients`` of them at once, ``speed_bytes`` for the speed.

        Without ``locks`` the kind has no object lock to look for.
        """
        self._open, self._read_only, self._locks = open_store, read_only, locks
        self._clients, self._speed_bytes, self._clock = clients, speed_bytes, clock
        self._folder = f"probe-{secrets.token_hex(8)}"
        self._content = secrets.token_bytes(_CONTENT)
        self._put: set[str] = set()
        self._stores: list[ObjectStore] = []
        self._lock = threading.Lock()
        self._sent = self._received = self._calls = 0

    def step_names(self) -> list[str]:
        """Return the names of the steps that follow those of connecting, in order."""
        return [name for name, _ in self._steps()]

    def traffic(self) -> tuple[int, int, int]:
        """Return bytes sent, bytes received, and requests (calls, where a kind counts none), so far."""
        counted = [store.requests() for store in self._stores if isinstance(store, CountsRequests)]
        return self._sent, self._received, sum(counted) if counted else self._calls

    def run(self) -> Iterator[StepResult]:
        """Yield the result of every step."""
        store = self._opened()
        failed = False
        try:
            for result in self._connecting(store):
                yield result
                failed = failed or result.state == "failed"
            for name, step in self._steps():
                result = StepResult(name, "skipped") if failed else self._one(name, lambda step=step: step(store))  # type: ignore[misc]
                yield result
                failed = failed or result.state == "failed"
        finally:
            self._clean(store)
            store.close()

    def _steps(self) -> list[tuple[str, Callable[[ObjectStore], str]]]:
        steps = [("list", self._list)]
        if not self._read_only:
            steps += [
                ("write", self._write),
                ("read back", self._read),
                ("read a range", self._range),
                ("replace by rename", self._replace),
                ("list after write", self._list_after_write),
                ("several at once", self._several),
                ("speed", self._speed),
                ("delete", self._delete),
            ]
            if self._locks:
                steps.append(("object lock", self._object_lock))
        return [*steps, ("free space", self._space)]

    def _connecting(self, store: ObjectStore) -> Iterator[StepResult]:
        if not isinstance(store, Connects):
            return
        going = store.connect_step_by_step()
        failed = False
        for name in store.connect_steps:
            if failed:
                yield StepResult(name, "skipped")
                continue
            result = self._one(name, lambda: next(going, ""))
            failed = result.state == "failed"
            yield _with_certificate(result, store) if failed else result

    def _one(self, name: str, step: Callable[[], str]) -> StepResult:
        began = self._clock()
        try:
            detail = step()
        except StoreError as error:
            shown = error.fingerprint if isinstance(error, FingerprintUnknown | FingerprintMismatch) else ""
            seconds = self._clock() - began
            return StepResult(name, "failed", seconds, str(error), error.code, error.guidance, shown)
        except _Doubt as doubt:
            return StepResult(name, "warning", self._clock() - began, str(doubt), guidance=doubt.guidance)
        return StepResult(name, "ok", self._clock() - began, detail)

    # the steps

    def _list(self, store: ObjectStore) -> str:
        for info in store.list(self._folder):
            raise TransferDamaged(f"a folder that nobody made lists {info.key}", temporary=False)
        return "a folder that is not there lists as empty"

    def _write(self, store: ObjectStore) -> str:
        self._store(store, "write", self._content)
        size = store.stat(self._key("write"))
        if size != _CONTENT:
            raise TransferDamaged(f"{size} of {_CONTENT} bytes arrived", temporary=False)
        return f"{_CONTENT >> 10} KiB written"

    def _read(self, store: ObjectStore) -> str:
        if self._get(store, self._key("write")) != self._content:
            raise TransferDamaged("what comes back is not what was written", temporary=False)
        return "every byte came back"

    def _range(self, store: ObjectStore) -> str:
        for offset, length in ((0, 1), (1000, 5000), (_CONTENT - 1, 1)):
            found = self._get(store, self._key("write"), offset=offset, length=length)
            if found != self._content[offset : offset + length]:
                raise TransferDamaged(f"bytes {offset} to {offset + length} are not those asked for", temporary=False)
        return "ranges are exact"

    def _replace(self, store: ObjectStore) -> str:
        self._store(store, "write", self._content[::-1])
        if self._get(store, self._key("write")) != self._content[::-1]:
            raise TransferDamaged("a replaced object still shows its old content", temporary=False)
        if not store.capabilities.overwrite:
            text = "the server cannot replace a file in one step; it is removed first"
            raise _Doubt(text, "Nothing to do: backups never replace what they stored.")
        return "an object is replaced in one step"

    def _list_after_write(self, store: ObjectStore) -> str:
        found = dict(store.list(self._folder))
        if found != {self._key("write"): _CONTENT}:
            raise TransferDamaged(f"the listing shows {len(found)} objects, not the one written", temporary=False)
        return "what was written is listed at once"

    def _several(self, store: ObjectStore) -> str:
        def one(number: int) -> None:
            own = self._opened()
            try:
                content = self._content[number:]
                self._store(own, f"client-{number}", content)
                if self._get(own, self._key(f"client-{number}")) != content:
                    raise TransferDamaged("clients at work side by side disturb each other", temporary=False)
            finally:
                own.close()

        with ThreadPoolExecutor(self._clients) as pool:
            list(pool.map(one, range(self._clients)))
        return f"{self._clients} clients worked side by side"

    def _speed(self, store: ObjectStore) -> str:
        content = [self._content] * max(1, self._speed_bytes // _CONTENT)
        total = len(content) * _CONTENT
        began = self._clock()
        self._store(store, "speed", content)
        middle = self._clock()
        got = self._get(store, self._key("speed"))
        end = self._clock()
        if got != b"".join(content):
            raise TransferDamaged("what comes back is not what was written", temporary=False)
        up, down = total / max(middle - began, 1e-6), total / max(end - middle, 1e-6)
        return f"{up / 1e6:.1f} MB/s up, {down / 1e6:.1f} MB/s down"

    def _delete(self, store: ObjectStore) -> str:
        for key in sorted(self._put):
            store.delete(key)
            store.delete(key)
        try:
            store.stat(self._key("write"))
        except ObjectMissing:
            pass
        else:
            raise TransferDamaged("a deleted object is still there", temporary=False)
        if left := list(store.list(self._folder)):
            raise TransferDamaged(f"{len(left)} deleted objects are still listed", temporary=False)
        self._put.clear()
        return "what is deleted is gone; deleting twice is fine"

    def _object_lock(self, store: ObjectStore) -> str:
        if not isinstance(store, LocksObjects):
            return "this kind has none"
        policy = store.lock_policy()
        if not policy.enabled:
            return "the bucket has none"
        if policy.default_days:
            text = f"every object of the bucket is kept for {policy.default_days} days, locks too"
            raise _Doubt(text, "Take the default retention off the bucket, and set object lock in the destination.")
        return "the bucket can keep objects from being deleted"

    def _space(self, store: ObjectStore) -> str:
        if not isinstance(store, ReportsCapacity):
            return "this kind does not tell it"
        try:
            total, free = store.capacity()
        except CapacityUnknown:
            return "the server does not tell it"
        if free < total // 50:
            text = f"only {free / 1e9:.1f} of {total / 1e9:.1f} GB are free"
            raise _Doubt(text, "Free space, or choose another destination.")
        return f"{free / 1e9:.1f} of {total / 1e9:.1f} GB are free"

    # the test's own objects

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _opened(self) -> ObjectStore:
        store = self._open()
        self._stores.append(store)
        return store

    def _store(self, store: ObjectStore, name: str, content: bytes | list[bytes]) -> None:
        self._put.add(self._key(name))
        store.put(self._key(name), content)
        self._count(sent=len(content) if isinstance(content, bytes) else sum(map(len, content)))

    def _get(self, store: ObjectStore, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        found = store.get(key, offset=offset, length=length)
        self._count(received=len(found))
        return found

    def _count(self, *, sent: int = 0, received: int = 0) -> None:
        with self._lock:
            self._sent += sent
            self._received += received
            self._calls += 1

    def _clean(self, store: ObjectStore) -> None:
        for key in self._put:
            with suppress(StoreError):
                store.delete(key)


def _with_certificate(result: StepResult, store: ObjectStore) -> StepResult:
    """Add the certificate that was not trusted, for the administrator to compare and pin."""
    if result.code not in _DOUBTFUL_CERTIFICATE or not isinstance(store, ShowsCertificate):
        return result
    with suppress(StoreError):
        return replace(result, fingerprint=store.certificate())
    return result

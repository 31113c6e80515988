"""Repeats calls that failed for a passing reason, and knows when the server is really gone."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from destinations.storage.base import ObjectInfo, ObjectStore
from destinations.storage.errors import StoreError, StoreGone, StoreUnreachable
from destinations.storage.forking import renew_after_fork
from destinations.storage.wrappers.base import Wrapper

T = TypeVar("T")
Watcher = Callable[[float | None], None]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to try again.  Times are seconds."""

    retries: int = 5
    """Repetitions of one call; 0 = no limit."""
    first_pause: float = 0.5
    longest_pause: float = 60.0
    gone_after: float = 120.0
    """The circuit opens when nothing has worked for this long ..."""
    gone_failures: int = 3
    """... and at least so many attempts in a row failed."""
    told_after: float = 20.0
    """So long before it is told that the server does not answer, whether or not anybody gives up."""
    ask_again: float = 30.0
    """While the circuit is open one call is let through this often, to see whether the server is back."""

    def pause(self, attempt: int, rng: random.Random) -> float:
        """Return the pause before repetition ``attempt`` (1, 2, …): doubling, with half of it by chance."""
        full = min(self.longest_pause, self.first_pause * 2.0 ** min(attempt - 1, 30))
        return full * rng.uniform(0.5, 1.0)


class Circuit:
    """Watches whether a server answers at all.  Shared by every call to it; safe to use from several threads."""

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        watcher: Watcher | None = None,
    ) -> None:
        """Watch by ``clock``; ``watcher`` hears since when (epoch seconds) nobody answers, and of the answer (None)."""
        self._policy, self._clock, self._wall, self._watcher = policy, clock, wall, watcher
        self._first_failure: float | None = None
        self._failures = 0
        self._since: float | None = None
        self._told = False
        self._ask_at = 0.0
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread of the parent may have held."""
        self._lock = threading.Lock()

    @property
    def open_since(self) -> float | None:
        """Since when (epoch seconds) the server is gone, or None while it answers."""
        return self._since

    def may_try(self) -> bool:
        """Say whether a call may go out now; while open, only one now and then."""
        with self._lock:
            if self._since is None:
                return True
            now = self._clock()
            if now < self._ask_at:
                return False
            self._ask_at = now + self._policy.ask_again
            return True

    def worked(self) -> None:
        """Note that the server answered, whatever it said."""
        if self._first_failure is None:
            return
        with self._lock:
            was_told = self._told
            self._first_failure, self._failures, self._since, self._told = None, 0, None, False
        if was_told and self._watcher:
            self._watcher(None)

    def failed(self) -> None:
        """Note that the server did not answer."""
        with self._lock:
            now = self._clock()
            if self._first_failure is None:
                self._first_failure = now
            self._failures += 1
            gone = now - self._first_failure
            often = self._failures >= self._policy.gone_failures
            if often and self._since is None and gone >= self._policy.gone_after:
                self._since = self._wall() - gone
                self._ask_at = now + self._policy.ask_again
            tells = often and not self._told and gone >= min(self._policy.told_after, self._policy.gone_after)
            self._told = self._told or tells
        if tells and self._watcher:
            self._watcher(self._wall() - gone)

    def gone(self, key: str) -> StoreGone:
        """Return the error to raise while the circuit is open."""
        since = self._since if self._since is not None else self._wall()
        return StoreGone(f"the server has not answered since {_moment(since)}", key=key, since=since)

    def dated(self, error: StoreError) -> StoreError:
        """Return an error that ends the repetitions, with the time since when nothing has worked."""
        first = self._first_failure
        if isinstance(error, StoreUnreachable) and first is not None:
            since = self._wall() - (self._clock() - first)
            error.args = (f"{error}; nothing has worked since {_moment(since)}",)
        return error


class RetryingStore(Wrapper):
    """Repeats temporary failures with growing pauses; everything else passes at once.

    While the circuit is open, a call fails at once with StoreGone if the number of retries is limited, and
    waits for the server if it is not.  ``sleep`` may raise, which is how a waiting call is cancelled.
    """

    def __init__(
        self,
        inner: ObjectStore,
        policy: RetryPolicy | None = None,
        *,
        circuit: Circuit | None = None,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        """Repeat the calls of ``inner`` by ``policy``."""
        super().__init__(inner)
        self._policy = policy or RetryPolicy()
        self._circuit = circuit or Circuit(self._policy)
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - jitter needs no secrecy

    @property
    def circuit(self) -> Circuit:
        """The circuit, to ask since when the server is gone."""
        return self._circuit

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield each object once, also when the listing had to be started again."""
        seen: set[str] = set()
        attempt = 0
        while True:
            try:
                for info in self._attempt(prefix, lambda: self._inner.list(prefix)):
                    if info.key not in seen:
                        seen.add(info.key)
                        attempt = 0
                        yield info
                self._circuit.worked()
                return
            except StoreError as error:
                self._note(error)
                attempt += 1
                self._pause_or_raise(error, attempt)

    def _call(self, verb: str, key: str, call: Callable[[], T]) -> T:
        attempt = 0
        while True:
            try:
                result = self._attempt(key, call)
            except StoreError as error:
                self._note(error)
                attempt += 1
                self._pause_or_raise(error, attempt)
            else:
                self._circuit.worked()
                return result

    def _attempt(self, key: str, call: Callable[[], T]) -> T:
        while not self._circuit.may_try():
            if self._policy.retries:
                raise self._circuit.gone(key)
            self._sleep(self._policy.pause(30, self._rng))
        return call()

    def _note(self, error: StoreError) -> None:
        if not isinstance(error, StoreUnreachable):
            self._circuit.worked()
        elif not isinstance(error, StoreGone):
            self._circuit.failed()

    def _pause_or_raise(self, error: StoreError, attempt: int) -> None:
        limit = self._policy.retries
        if not error.temporary:
            raise error
        if limit and attempt > limit:
            raise self._circuit.dated(error)
        if limit and self._circuit.open_since is not None:
            raise self._circuit.gone(error.key) from error
        self._sleep(self._policy.pause(attempt, self._rng))


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))

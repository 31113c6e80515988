"""A fixed number of connections, used again and again, that no forked child takes over from its parent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, Protocol, TypeVar

from destinations.storage.errors import ServerBusy, StoreError, StoreUnreachable
from destinations.storage.forking import renew_after_fork

_TRY_MORE_AFTER = 600.0


class Tally:
    """Counts, from several threads; a forked child begins at zero."""

    def __init__(self) -> None:
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Begin anew."""
        self._lock, self.value = threading.Lock(), 0

    def add(self) -> None:
        """Count one more."""
        with self._lock:
            self.value += 1


class Link(Protocol):
    """One connection to a server."""

    def usable(self) -> bool:
        """Say whether a connection that rested may be used again."""

    def close(self) -> None:
        """End it politely; never raises, never waits long."""

    def abandon(self) -> None:
        """Drop it without a word to the server: it belongs to the parent process."""


L = TypeVar("L", bound=Link)


class Pool(Generic[L]):
    """Lends connections to threads, one at a time each; makes callers wait when all are lent.

    A server that answers "too many connections" lowers the number for ten minutes to half of it, or to those it
    lets us have.
    """

    def __init__(self, connect: Callable[[], L], limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Make connections with ``connect``; at most ``limit`` at a time, 0 = no limit."""
        self._connect, self._limit, self._clock = connect, limit, clock
        self._idle: list[L] = []
        self._closed = False
        self.renew_after_fork()
        renew_after_fork(self)

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return self._open

    def renew_after_fork(self) -> None:
        """Forget the parent's connections, in a child."""
        self._changed = threading.Condition()
        self._open = 0
        self._busy_limit, self._busy_until = 0, 0.0
        idle, self._idle = self._idle, []
        for link in idle:
            link.abandon()

    @contextmanager
    def lease(self) -> Iterator[L]:
        """Lend a connection.  It is used again unless the block ends with an error of the connection."""
        link = self._take()
        try:
            yield link
        except StoreUnreachable:
            self._drop(link)
            raise
        except StoreError:
            self._give_back(link)
            raise
        except BaseException:
            self._drop(link)
            raise
        else:
            self._give_back(link)

    def close(self) -> None:
        """Close the connections at rest; those lent are closed when they come back."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._open -= len(idle)
            self._changed.notify_all()
        for link in idle:
            link.close()

    def _take(self) -> L:
        while True:
            link = self._take_idle_or_place()
            if link is None:
                made = self._make()
                if made is not None:
                    return made
            elif link.usable():
                return link
            else:
                self._drop(link)

    def _take_idle_or_place(self) -> L | None:
        """Return a connection at rest, or None once there is a place for a new one."""
        with self._changed:
            while True:
                if self._idle:
                    return self._idle.pop()
                limit = self._limit_now()
                if not limit or self._open < limit:
                    self._open += 1
                    return None
                self._changed.wait()

    def _make(self) -> L | None:
        """Return a new connection, or None if the server wants no more and others are at work."""
        try:
            return self._connect()
        except ServerBusy:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()
                if not self._open:
                    raise
                self._busy_limit = max(1, min(self._open, (self._limit_now() or self._open * 2) // 2))
                self._busy_until = self._clock() + _TRY_MORE_AFTER
            return None
        except BaseException:
            self._left()
            raise

    def _limit_now(self) -> int:
        return self._busy_limit if self._busy_limit and self._clock() < self._busy_until else self._limit

    def _give_back(self, link: L) -> None:
        with self._changed:
            limit = self._limit_now()
            if not self._closed and (not limit or self._open <= limit):
                self._idle.append(link)
                self._changed.notify()
                return
        self._drop(link)

    def _drop(self, link: L) -> None:
        with suppress(Exception):
            link.close()
        self._left()

    def _left(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify()

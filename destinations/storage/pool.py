"""A fixed number of connections, used again and again, that no forked child takes over from its parent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, Protocol, TypeVar

from destinations.storage.errors import ServerBusy, StoreError, StoreUnreachable
from destinations.storage.forking import renew_after_fork
from destinations.storage.places import Places

_TRY_MORE_AFTER = 600.0
_KEPT_SECONDS = 2.0
_GIVE_EVERY = 0.25
_LOOK_EVERY = 0.05


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
        self._places: Places | None = None
        self.renew_after_fork()
        renew_after_fork(self)

    def share(self, places: Places) -> None:
        """Connect only from one of ``places``, which other processes use too; before the first connection."""
        self._places = places

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return self._open

    def renew_after_fork(self) -> None:
        """Forget the parent's connections, in a child."""
        self._changed = threading.Condition()
        self._open, self._closed = 0, False
        self._place_of: dict[int, tuple[int, float]] = {}
        self._giver: threading.Thread | None = None
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
            self._leave_place(link)

    def _take(self) -> L:
        while True:
            link, place = self._take_idle_or_place()
            if link is None:
                made = self._make(place)
                if made is not None:
                    return made
            elif link.usable():
                return link
            else:
                self._drop(link)

    def _take_idle_or_place(self) -> tuple[L | None, int | None]:
        """Return a connection at rest; or none once there is a place for a new one, and which of the shared ones."""
        waits = False
        try:
            with self._changed:
                while True:
                    if self._idle:
                        return self._idle.pop(), None
                    limit = self._limit_now()
                    free = not limit or self._open < limit
                    if free and (self._places is None or (place := self._places.try_take()) is not None):
                        self._open += 1
                        return None, place if self._places else None
                    if free and self._places and not waits:
                        waits = True
                        self._places.wait_for_one()
                    self._changed.wait(_LOOK_EVERY if free else None)
        finally:
            if waits and self._places:
                self._places.wait_no_more()

    def _make(self, place: int | None) -> L | None:
        """Return a new connection, or None if the server wants no more and others are at work."""
        try:
            link = self._connect()
        except ServerBusy:
            self._give_place(place)
            with self._changed:
                self._open -= 1
                self._changed.notify_all()
                if not self._open:
                    raise
                self._busy_limit = max(1, min(self._open, (self._limit_now() or self._open * 2) // 2))
                self._busy_until = self._clock() + _TRY_MORE_AFTER
            return None
        except BaseException:
            self._give_place(place)
            self._left()
            raise
        if place is not None:
            with self._changed:
                self._place_of[id(link)] = (place, self._clock())
            self._watch_others()
        return link

    def _give_place(self, place: int | None) -> None:
        if self._places and place is not None:
            self._places.give(place)

    def _limit_now(self) -> int:
        return self._busy_limit if self._busy_limit and self._clock() < self._busy_until else self._limit

    def _give_back(self, link: L) -> None:
        with self._changed:
            limit = self._limit_now()
            if not self._closed and (not limit or self._open <= limit) and not self._gives_way(link):
                self._idle.append(link)
                self._changed.notify()
                return
        self._drop(link)

    def _drop(self, link: L) -> None:
        with suppress(Exception):
            link.close()
        self._leave_place(link)
        self._left()

    def _leave_place(self, link: L) -> None:
        with self._changed:
            place, _ = self._place_of.pop(id(link), (None, 0.0))
        self._give_place(place)

    # giving way to other processes

    def _watch_others(self) -> None:
        """Look now and then, while there are connections, whether another process needs one that rests here."""
        with self._changed:
            if self._giver is not None:
                return
            self._giver = threading.Thread(target=self._give_way, daemon=True)
        self._giver.start()

    def _give_way(self) -> None:
        while True:
            time.sleep(_GIVE_EVERY)
            with self._changed:
                if not self._place_of:
                    self._giver = None
                    return
            if self._places and self._places.wanted() and (link := self._rested()) is not None:
                self._drop(link)

    def _gives_way(self, link: L) -> bool:
        """Say whether a connection that comes back should go, because another process waits."""
        place, since = self._place_of.get(id(link), (None, 0.0))
        old_enough = place is not None and self._clock() - since >= _KEPT_SECONDS
        return bool(old_enough and self._places and self._places.wanted())

    def _rested(self) -> L | None:
        """Take out a connection at rest that was here long enough to be worth its making."""
        with self._changed:
            for number, link in enumerate(self._idle):
                _, since = self._place_of.get(id(link), (0, 0.0))
                if self._clock() - since >= _KEPT_SECONDS:
                    return self._idle.pop(number)
        return None

    def _left(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify()

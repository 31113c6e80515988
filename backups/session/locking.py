"""The format's lock of a session: what our own dead sessions left goes first, and waiting is said aloud."""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from backups.engine.errors import Locked
from backups.engine.layout import LOCKS
from backups.engine.locks import Lock
from backups.engine.repository import Repository
from backups.session.events import say

_WAIT_SECONDS = 6 * 3600.0
_AGAIN_SECONDS = 5.0


class Waiting(Exception):
    """Whoever started the session has gone while it waited for a lock."""


@contextmanager
def lock_of(repository: Repository, *, exclusive: bool, stale: Iterable[str]) -> Iterator[Lock]:
    """Hold a lock for the length of a ``with`` block, and say its id.

    ``stale`` are ids of locks whose sessions are known to be dead: exactly those are removed before.  While somebody
    else's lock is in the way, what it is is said every few seconds.  Locked after some hours; Waiting.
    """
    for name in stale:
        repository.remove_object(LOCKS, name)
    with _first_free(repository, exclusive=exclusive) as lock:
        say("lock", lock=lock.id)
        yield lock


@contextmanager
def _first_free(repository: Repository, *, exclusive: bool) -> Iterator[Lock]:
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        holding = repository.locked(exclusive=exclusive)
        try:
            lock = holding.__enter__()
        except Locked as error:
            if time.monotonic() > deadline:
                raise
            say("waiting", message=str(error))
            _pause()
            continue
        break
    try:
        yield lock
    finally:
        holding.__exit__(None, None, None)
        if lock.is_gone:
            say("unlocked")


def _pause() -> None:
    """Wait, unless the other end of standard input goes: nothing has been read from it yet."""
    poll = select.poll()
    poll.register(0, select.POLLHUP)
    if poll.poll(_AGAIN_SECONDS * 1000):
        raise Waiting

"""Opening the place a repository is in, with all that its destination asks for, and telling what goes through."""

from __future__ import annotations

import atexit
import os
import select
import threading
import time
from pathlib import Path
from typing import Any

from backups.engine.errors import Canceled
from backups.session.events import say
from backups.session.meters import SharedMeter
from destinations.storage.base import CountsRequests, ObjectStore, ReportsCapacity
from destinations.storage.config import below, from_plain
from destinations.storage.errors import BadConfig, StoreError
from destinations.storage.registry import open_store as open_stack

_TELL_EVERY = 2.0
_LOOK_EVERY = 0.2


class _Teller:
    """Says the traffic of this session's stores now and then."""

    def __init__(self) -> None:
        self._meters: list[SharedMeter] = []
        self._next = 0.0
        self._process = 0

    def add(self, meter: SharedMeter) -> None:
        """Tell of this meter too."""
        if not self._meters:
            self._process = os.getpid()
            atexit.register(self.tell)
        self._meters.append(meter)

    def tell(self) -> None:
        """Say what went through since the last time.  Nothing in a child: its parent counts for it."""
        if os.getpid() != self._process:
            return
        self._next = time.monotonic() + _TELL_EVERY
        for meter in self._meters:
            sent, received, requests = meter.take_sums()
            if sent or received or requests:
                say("traffic", sent=sent, received=received, requests=requests)

    def tell_if_due(self) -> None:
        """Say it every two seconds."""
        if time.monotonic() >= self._next:
            self.tell()


_teller = _Teller()
_stopped = threading.Event()
tell_traffic = _teller.tell
tell_traffic_if_due = _teller.tell_if_due


def open_store(plain: dict[str, Any], path: str, shared: str = "") -> ObjectStore:
    """Return the store of a destination, narrowed to a repository's path: metered, repeating, paced.  BadConfig.

    ``shared`` names the folder through which all sessions keep to the destination's limits together.
    """
    config = from_plain(plain)
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise BadConfig(f"{path!r} is no path of a repository")
    meter = SharedMeter()
    folder = Path(shared) if shared else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = open_stack(below(config, path), meter=meter, watcher=_say_gone, sleep=_pause, shared=folder)
    if isinstance(store, CountsRequests):
        meter.watch(store.requests)
    _teller.add(meter)
    return store


def say_room(store: ObjectStore) -> None:
    """Say how much room there is, if the storage knows."""
    try:
        if isinstance(store, ReportsCapacity):
            total, free = store.capacity()
            say("room", total=total, free=free)
    except StoreError:
        pass


def stop_waiting(*_: object) -> None:
    """End every pause of this process, those to come as well: whoever waits for a server is cancelled."""
    _stopped.set()


def _say_gone(since: float | None) -> None:
    if since is None:
        say("back")
    else:
        say("gone", since=since)


def _pause(seconds: float) -> None:
    """Wait, unless somebody stops us, or the other end of standard input goes."""
    poll = select.poll()
    poll.register(0, select.POLLHUP)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if _stopped.is_set() or poll.poll(0):
            raise Canceled("stopped while the server did not answer")
        time.sleep(min(left, _LOOK_EVERY))

"""From rows to the engine: starts session processes and speaks with them.  For workers only."""

from __future__ import annotations

import json
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from backups.keys import repository_place, schedule_place
from backups.lines import Lines
from backups.models import Repository, Schedule
from destinations.factory import allowed_networks, plain_config
from destinations.metering import gone_noted, room_noted, traffic_add
from destinations.models import DestinationKind, S3Defaults
from panel.core.sealing import MasterKey
from worker.children import end_child, start_child

_NICE = 10
_CUSTOMERS_MEMORY = 2 << 30
"""Bytes that each process may take which reads a repository whose key, and so whose content, is a customer's."""
_AT_ONCE = 1 << 16
_UNREACHABLE = frozenset(("HF-STORE-UNREACHABLE", "HF-STORE-HOST", "HF-STORE-PORT", "HF-STORE-TIMEOUT"))


def master_key() -> MasterKey:
    """Return the installation's private key.  SealError if this process may not read it."""
    return MasterKey.read(settings.MASTER_KEY_FILE)


def session_spec(
    repository: Repository,
    schedule: Schedule | None,
    *,
    lock: bool = True,
    create: bool = False,
    exclusive: bool = False,
) -> dict[str, Any]:
    """Return what a session needs to open a repository, secrets included."""
    key = master_key()
    keys = [key.open(schedule_place(schedule.pk), schedule.sealed_key)] if schedule and schedule.sealed_key else []
    if repository.sealed_key:
        keys.append(key.open(repository_place(repository.pk), repository.sealed_key))
    return {
        "store": plain_config(repository.destination, key),
        "path": repository.path,
        "keys": list(dict.fromkeys(keys)),
        "expect": repository.repository_id,
        "shared": str(shared_folder(repository.destination_id)),
        "lock": lock and not repository.destination.read_only,
        "create": create,
        "exclusive": exclusive,
        "cache": str(settings.CACHE_DIR),
        "nice": _NICE if lock else 0,
        "group": settings.SESSION_CGROUP if lock else "",
        "memory": _CUSTOMERS_MEMORY if repository.account_id is not None else 0,
    }


def way_to(repository: Repository) -> str:
    """Return what changes when a repository must be opened in another way: its place, its keys, how it is reached."""
    destination = repository.destination
    parts = [
        destination.kind, destination.config, destination.sealed, destination.read_only, destination.account_id,
        repository.path, repository.repository_id, repository.sealed_key,
    ]  # fmt: skip
    if destination.kind == DestinationKind.S3:
        parts += S3Defaults.objects.filter(pk=1).values_list("endpoint", "region", "access_key", "sealed")
    if destination.account_id is not None:
        parts += allowed_networks()
    return json.dumps(parts, sort_keys=True, default=str)


def shared_folder(destination_id: int) -> Path:
    """Return the folder through which all sessions keep to a destination's limits together."""
    return Path(settings.CACHE_DIR) / "shared" / str(destination_id)


def secrets_of(spec: dict[str, Any]) -> list[str]:
    """Return the texts of a specification that no log may hold."""
    hidden = ("password", "secret_key", "private_key", "passphrase", "session_token")
    return [*spec["keys"], *(str(spec["store"][name]) for name in hidden if spec["store"].get(name))]


@dataclass(frozen=True, slots=True)
class Use:
    """Whose traffic a session's is: a destination's, and a job's if it works for one."""

    destination: int
    job: int | None = None

    def note(self, event: dict[str, Any]) -> None:
        """Store what a session says of its destination: bytes and requests, room, and whether it answers."""
        match event["event"]:
            case "traffic":
                figures = {name: event[name] for name in ("sent", "received", "requests")}
                traffic_add(self.destination, self.job, **figures)
            case "room":
                room_noted(self.destination, total=event["total"], free=event["free"])
            case "ready" | "back":
                gone_noted(self.destination, None)
            case "gone":
                gone_noted(self.destination, event["since"])
            case "error" if event["code"] in _UNREACHABLE:
                gone_noted(self.destination, time.time())


class EngineSession:
    """A session process: takes commands, gives events.  Closing it ends the process and all it started."""

    def __init__(self, spec: dict[str, Any], use: Use | None = None) -> None:
        self._use = use
        self._process = start_child("backups.session", spec)
        self._lines = Lines()
        self._unsent, self._sending = bytearray(), threading.Lock()
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
        self.ended = False
        self.unlocked = False

    def send(self, **command: Any) -> None:
        """Send a command; lost if the process has ended, which :attr:`ended` tells soon.

        Waits for nothing: a process that waits for a lock or a server reads nothing, and a long command does not fit
        into the pipe.  The rest goes out while :meth:`events` is asked.
        """
        with self._sending:
            self._unsent += json.dumps(command).encode() + b"\n"
        self._send_on()

    def _send_on(self) -> None:
        stdin = self._process.stdin
        with self._sending:
            if stdin is None or stdin.closed:
                self._unsent.clear()
            try:
                while self._unsent and stdin is not None:
                    del self._unsent[: os.write(stdin.fileno(), self._unsent[:_AT_ONCE])]
            except BlockingIOError:
                return
            except BrokenPipeError:
                self._unsent.clear()

    def events(self, wait: float) -> Iterator[dict[str, Any]]:
        """Yield the events that arrive within ``wait`` seconds of the first call, or at once if some are there."""
        stdout = self._process.stdout
        if stdout is None or self.ended:
            return
        ready, writable, _ = select.select([stdout], [self._process.stdin] if self._unsent else [], [], wait)
        if writable:
            self._send_on()
        if not ready:
            return
        data = os.read(stdout.fileno(), 1 << 20)
        if not data:
            self.ended = True
            return
        for said in self._lines.take(data):
            yield self._noted(said)

    def _noted(self, event: dict[str, Any]) -> dict[str, Any]:
        self.unlocked = self.unlocked or event["event"] == "unlocked"
        if self._use is not None:
            self._use.note(event)
        return event

    def _last_words(self) -> None:
        """Note what the process said after anybody listened: the end of its traffic."""
        stdout = self._process.stdout
        if stdout is None or stdout.closed:
            return
        with suppress(ValueError):
            for said in self._lines.take(stdout.read()):
                self._noted(said)
        stdout.close()

    def close(self) -> None:
        """End the process: politely at first, by force after ten seconds.  Twice is fine."""
        self.ended = True
        with self._sending, suppress(BrokenPipeError):
            self._unsent.clear()
            if self._process.stdin is not None:
                self._process.stdin.close()
        end_child(self._process)
        self._last_words()

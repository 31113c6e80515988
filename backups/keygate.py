"""From rows to the program for keys: opens what is sealed, starts the process, reads its answer.  For workers only."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from django.conf import settings

from backups.gateway import master_key
from backups.keys import next_key_place, old_key_place, repository_place, schedule_place
from backups.lines import Lines
from backups.models import OldKey, Repository, Schedule
from destinations.factory import plain_config
from panel.core.errors import PanelError
from worker.children import end_child, start_child
from worker.claim import Claim
from worker.context import ItemContext
from worker.locks import dead_locks, forget_locks, note_lock

_OURS = ("step", "snapshot", "done", "error")
_TRIAL_SECONDS = 30.0
_WORK_SECONDS = 3600.0


class KeyringFailed(PanelError):
    """The program ended with an error; code, text and guidance are its own."""

    code = "HF-KEYRING"


def try_key(repository: Repository, key: str) -> list[dict[str, Any]]:
    """Return the steps of a trial of ``key``; the last event says whether it opens.  Writes nothing.  KeyringFailed."""
    return _run({"do": "try", "key": key}, repository, seconds=_TRIAL_SECONDS)


def add_key(repository: Repository, key: str, others: list[str], claim: Claim) -> bool:
    """Make ``key`` open the repository, which one of ``others`` opens.  False if it did already.  KeyringFailed."""
    return bool(_run({"do": "add", "key": key, "others": others}, repository, claim)[-1]["added"])


def remove_keys(repository: Repository, key: str, gone: list[str], claim: Claim) -> int:
    """Remove what ``gone`` open; ``key`` stays and must open the repository.  Returns how many.  KeyringFailed."""
    return int(_run({"do": "remove", "key": key, "others": gone}, repository, claim)[-1]["removed"])


def stored_snapshots(repository: Repository, keys: list[str], claim: Claim) -> list[dict[str, Any]]:
    """Return what the repository says of its snapshots.  KeyringFailed."""
    spec = {"do": "snapshots", "key": keys[0], "others": keys[1:], "cache": str(settings.CACHE_DIR)}
    return [event for event in _run(spec, repository, claim) if event["event"] == "snapshot"]


def schedule_key(schedule: Schedule) -> str:
    """Return the key of a schedule."""
    return master_key().open(schedule_place(schedule.pk), schedule.sealed_key)


def next_key(schedule: Schedule) -> str:
    """Return the key a schedule changes to."""
    return master_key().open(next_key_place(schedule.pk), schedule.sealed_next_key)


def known_keys(repository: Repository, schedule: Schedule) -> list[str]:
    """Return every key that may open a repository: its own, the schedule's, and those the schedule had."""
    key = master_key()
    found = [key.open(repository_place(repository.pk), repository.sealed_key)] if repository.sealed_key else []
    found.append(schedule_key(schedule))
    found += [old_key(row) for row in schedule.old_keys.exclude(sealed_key="")]
    return list(dict.fromkeys(found))


def old_key(row: OldKey) -> str:
    """Return a key that was in use before."""
    return master_key().open(old_key_place(row.pk), row.sealed_key)


def _run(
    what: dict[str, Any], repository: Repository, claim: Claim | None = None, *, seconds: float = _WORK_SECONDS
) -> list[dict[str, Any]]:
    """Run the program; an item it works for stays alive meanwhile, and notes the lock that is held for it."""
    dead = dead_locks(claim.item.lease) if claim else []
    spec = {"store": plain_config(repository.destination, master_key()), "path": repository.path, **what}
    process = start_child("backups.session.keyring", spec | {"stale_locks": dead})
    context, until, events = ItemContext(claim) if claim else None, time.monotonic() + seconds, list[dict[str, Any]]()
    try:
        for event in _said_by(process):
            if time.monotonic() > until or (context and not context.tick()):
                raise KeyringFailed("The repository did not answer in time.")
            if event is not None and event["event"] in _OURS:
                events.append(event)
            elif event is not None and claim and event["event"] in ("lock", "unlocked"):
                note_lock([claim.attempt.pk], event.get("lock", ""))
                forget_locks(claim.item.lease, dead)
    finally:
        end_child(process, patience=2)
        if process.stdout is not None:
            process.stdout.close()
    last = events[-1] if events else {"event": "none"}
    if last["event"] == "error":
        failed = KeyringFailed(last["message"])
        failed.code, failed.guidance = last["code"], last.get("guidance", "")
        raise failed
    if last["event"] != "done":
        raise KeyringFailed("The program for keys ended without a word.")
    return events


def _said_by(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any] | None]:
    """Yield what a child says until it ends, and None every second in between."""
    lines, stdout = Lines(), process.stdout
    assert stdout is not None
    while True:
        ready, _, _ = select.select([stdout], [], [], 1.0)
        if not ready:
            yield None
            continue
        data = os.read(stdout.fileno(), 1 << 20)
        if not data:
            return
        yield from lines.take(data)

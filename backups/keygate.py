"""From rows to the program for keys: opens what is sealed, starts the process, reads its answer.  For workers only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from django.conf import settings

from backups.gateway import master_key
from backups.keys import next_key_place, old_key_place, repository_place, schedule_place
from backups.lines import Lines
from backups.models import OldKey, Repository, Schedule
from destinations.factory import plain_config
from panel.core.errors import PanelError

_OURS = ("step", "snapshot", "done", "error")
_TRIAL_SECONDS = 30.0
_WORK_SECONDS = 3600.0


class KeyringFailed(PanelError):
    """The program ended with an error; code, text and guidance are its own."""

    code = "HF-KEYRING"


def try_key(repository: Repository, key: str) -> list[dict[str, Any]]:
    """Return the steps of a trial of ``key``; the last event says whether it opens.  Writes nothing.  KeyringFailed."""
    return _run({"do": "try", "key": key}, repository, seconds=_TRIAL_SECONDS)


def add_key(repository: Repository, key: str, others: list[str]) -> bool:
    """Make ``key`` open the repository, which one of ``others`` opens.  False if it did already.  KeyringFailed."""
    return bool(_run({"do": "add", "key": key, "others": others}, repository)[-1]["added"])


def remove_keys(repository: Repository, key: str, gone: list[str]) -> int:
    """Remove what ``gone`` open; ``key`` stays and must open the repository.  Returns how many.  KeyringFailed."""
    return int(_run({"do": "remove", "key": key, "others": gone}, repository)[-1]["removed"])


def stored_snapshots(repository: Repository, keys: list[str]) -> list[dict[str, Any]]:
    """Return what the repository says of its snapshots.  KeyringFailed."""
    spec = {"do": "snapshots", "key": keys[0], "others": keys[1:], "cache": str(settings.CACHE_DIR)}
    return [event for event in _run(spec, repository) if event["event"] == "snapshot"]


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


def _run(what: dict[str, Any], repository: Repository, *, seconds: float = _WORK_SECONDS) -> list[dict[str, Any]]:
    spec = {"store": plain_config(repository.destination, master_key()), "path": repository.path, **what}
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"):
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(spec).encode())
        try:
            done = subprocess.run(
                [sys.executable, "-m", "backups.session.keyring", "--spec-fd", str(reading)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=[reading],
                cwd=settings.BASE_DIR,
                env={"PATH": os.environ.get("PATH", ""), "TZ": "UTC", "LANG": "C.UTF-8"},
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise KeyringFailed("The repository did not answer in time.") from None
    events = [event for event in Lines().take(done.stdout) if event["event"] in _OURS]
    last = events[-1] if events else {"event": "none"}
    if last["event"] == "error":
        failed = KeyringFailed(last["message"])
        failed.code, failed.guidance = last["code"], last.get("guidance", "")
        raise failed
    if last["event"] != "done":
        raise KeyringFailed("The program for keys ended without a word.")
    return events

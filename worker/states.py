"""The states of jobs, items and attempts, and which may follow which.

    pending ──► running ──► success | warning | partial | failed | aborted
       │           │
       │           └──► pending      (its attempt was lost; once)
       └──► skipped | aborted

Every arrow is one conditional UPDATE; a row count of 0 means that somebody else was first.
"""

from __future__ import annotations

from django.db import models


class State(models.TextChoices):
    """A state of a job or an item.  ``partial`` is for jobs alone."""

    PENDING = "pending", "Pending"
    RUNNING = "running", "Running"
    SUCCESS = "success", "Success"
    WARNING = "warning", "Warnings"
    PARTIAL = "partial", "Partial"
    FAILED = "failed", "Failed"
    ABORTED = "aborted", "Stopped"
    SKIPPED = "skipped", "Skipped"


LIVE = (State.PENDING, State.RUNNING)
ENDED = tuple(state for state in State if state not in LIVE)
GOOD = (State.SUCCESS, State.WARNING)


class Kind(models.TextChoices):
    """What a job does."""

    BACKUP = "backup", "Backup"
    RESTORE = "restore", "Restore"
    DOWNLOAD = "download", "Download"
    CHECK = "check", "Integrity check"
    CLEANUP = "cleanup", "Cleanup"
    REINDEX = "reindex", "Reindex"
    TEST = "test", "Destination test"
    KEY = "key", "Key change"


class Slot(models.IntegerChoices):
    """Which limit an item counts against; a lower one is served first."""

    RESTORE = 1, "slots_restore"
    BACKUP = 2, "slots_backup"
    SYSTEM = 3, "slots_system"


SLOT_OF = {
    Kind.BACKUP: Slot.BACKUP,
    Kind.RESTORE: Slot.RESTORE,
    Kind.DOWNLOAD: Slot.RESTORE,
    Kind.REINDEX: Slot.RESTORE,
    Kind.CHECK: Slot.SYSTEM,
    Kind.CLEANUP: Slot.SYSTEM,
    Kind.TEST: Slot.RESTORE,
    Kind.KEY: Slot.SYSTEM,
}


def job_state(states: list[str]) -> State:
    """Return what a job has become when all its items have ended in ``states``."""
    kinds = set(states)
    if not kinds or kinds == {State.SKIPPED}:
        return State.SKIPPED
    kinds.discard(State.SKIPPED)
    if State.ABORTED in kinds:
        return State.ABORTED
    if kinds == {State.FAILED}:
        return State.FAILED
    if State.FAILED in kinds or State.PARTIAL in kinds:
        return State.PARTIAL
    return State.WARNING if State.WARNING in kinds else State.SUCCESS

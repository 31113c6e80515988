"""Which program does which kind of job, by name, so that nothing below imports what is above."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from worker.claim import Claim

Runner = Callable[[Claim], None]
RUNNERS = {
    "backup": "backups.work:run_backup",
    "restore": "restores.work:run_restore",
    "download": "restores.work:run_download",
    "cleanup": "backups.upkeep:run_cleanup",
    "check": "backups.upkeep:run_check",
    "test": "destinations.work:run_test",
    "key": "backups.keywork:run_key",
}


TIDIERS = ("restores.locking:homes_tidy",)
"""What puts right, for the servers of a queue, what work left that was killed."""


def tidy(queue: str) -> None:
    """Put right what killed work left on the servers of a queue."""
    for place in TIDIERS:
        module, _, name = place.partition(":")
        getattr(import_module(module), name)(queue)


def runner_of(kind: str) -> Runner | None:
    """Return the function that works on items of ``kind`` until each has its outcome; None if nothing does."""
    module, _, name = RUNNERS.get(kind, "").partition(":")
    if not module:
        return None
    runner: Runner = getattr(import_module(module), name)
    return runner

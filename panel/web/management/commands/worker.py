"""``manage.py worker``: does the work."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from worker.process import only_one
from worker.reaper import reap


class Command(BaseCommand):
    """Take up what a dead worker of this name left, then become Celery's worker."""

    help = "Do backups, restores and everything else that waits, until a signal."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take how long to wait for the end of the worker before."""
        parser.add_argument("--patience", type=float, default=30.0, help="seconds to wait for an older worker to end")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run."""
        name = settings.WORKER_NAME
        settings.WORKSPACE_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            only_one(settings.WORKSPACE_DIR / f"worker-{name}.lock", patience=options["patience"])
        except BlockingIOError:
            raise CommandError(
                f"A worker named {name!r} is running already. Stop it, or give this one another HOLDFAST_WORKER_NAME."
            ) from None
        lost = reap(worker=f"{name}/")
        if lost:
            self.stderr.write(f"{lost} items of a worker that died start again.")
        connections.close_all()
        os.chdir(settings.BASE_DIR)
        os.execv(sys.executable, celery_command())  # noqa: S606 - no shell


def celery_command() -> list[str]:
    """Return the command of the worker proper."""
    return [
        sys.executable, "-m", "celery", "-q", "-A", "worker.celery", "worker", "-Q", settings.WORKER_QUEUE,
        "-c", str(settings.WORKER_PROCESSES), "--loglevel", "WARNING",
        "--without-gossip", "--without-mingle", "--without-heartbeat",
        "-n", f"{settings.WORKER_QUEUE}@{settings.WORKER_NAME}",
    ]  # fmt: skip

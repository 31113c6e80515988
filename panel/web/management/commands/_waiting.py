"""Commands that start jobs, and may wait for them."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from worker.models import Job
from worker.states import LIVE, State

_LOOK_SECONDS = 1.0
_BAD = (State.FAILED, State.PARTIAL, State.ABORTED)


class StartingCommand(BaseCommand):
    """Starts jobs; with ``--wait`` the exit status says how they ended."""

    start: Callable[[], Iterable[Job]]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take whether to wait."""
        parser.add_argument("--wait", action="store_true", help="wait for the end; the exit status is 1 if it is bad")

    def handle(self, *_: Any, **options: Any) -> None:
        """Start, and perhaps wait."""
        jobs = list(type(self).start())
        for job in jobs:
            self.stdout.write(f"job {job.pk}: {job.name}, {job.items_total} repositories")
        if options["wait"]:
            self._wait(jobs)

    def _wait(self, jobs: list[Job]) -> None:
        numbers = [job.pk for job in jobs]
        while Job.objects.filter(pk__in=numbers, state__in=LIVE).exists():
            time.sleep(_LOOK_SECONDS)
        ended = list(Job.objects.filter(pk__in=numbers))
        for job in ended:
            self.stdout.write(f"job {job.pk}: {job.get_state_display().lower()}. {job.error}".rstrip())
        if any(job.state in _BAD for job in ended):
            raise CommandError("It did not end well; see History.")

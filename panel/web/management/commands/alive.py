"""``manage.py alive PART``: a health check for whatever starts the parts."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from panel.core.text import ago
from worker.beats import QUIET, last_beat


class Command(BaseCommand):
    """Succeed if a part gave a sign of life within the last minute."""

    help = "Succeed if the scheduler or the readers gave a sign of life within the last minute."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the part."""
        parser.add_argument("part", choices=["scheduler", "readers"])

    def handle(self, *_: Any, **options: Any) -> None:
        """Look."""
        seen, moment = last_beat(options["part"]), timezone.now()
        if seen is None or moment - seen.seen_at > QUIET:
            raise CommandError(f"Last seen: {ago(seen.seen_at, moment) if seen else 'never'}.")
        self.stdout.write(f"Seen {ago(seen.seen_at, moment)}.")

"""``manage.py scheduler``: starts what is due."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from backups.services.schedules import schedules_tick
from backups.services.upkeep import upkeep_tick
from notifications.ticks import letters_tick
from restores.downloads import downloads_tick
from restores.locking import homes_tick
from worker.days import days_tick
from worker.scheduler import run


class Command(BaseCommand):
    """Tick until a signal."""

    help = "Start schedules that are due, find lost workers, ring again."
    requires_system_checks: list[str] = []

    def handle(self, *_: Any, **__: Any) -> None:
        """Run."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        run([schedules_tick, upkeep_tick, letters_tick, downloads_tick, homes_tick, days_tick], stop)

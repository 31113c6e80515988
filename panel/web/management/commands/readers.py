"""``manage.py readers``: answers pages from repositories."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand
from django.db import close_old_connections

from backups.readers import Readers, serve
from worker.beats import beat

_THREADS = 8
_BEAT_SECONDS = 20.0


class Command(BaseCommand):
    """Answer until a signal."""

    help = "Answer browse, search and key requests."
    requires_system_checks: list[str] = []

    def handle(self, *_: Any, **__: Any) -> None:
        """Run."""
        stop, readers = threading.Event(), Readers()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        threads = [threading.Thread(target=serve, args=(readers, stop), daemon=True) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        while not stop.wait(_BEAT_SECONDS):
            close_old_connections()
            beat("readers")
        for thread in threads:
            thread.join(5)
        readers.close()

"""``manage.py readers``: answers pages from repositories."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from backups.readers import Readers, serve

_THREADS = 4


class Command(BaseCommand):
    """Answer until a signal."""

    help = "Answer browse, search and key requests."

    def handle(self, *_: Any, **__: Any) -> None:
        """Run."""
        stop, readers = threading.Event(), Readers()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        threads = [threading.Thread(target=serve, args=(readers, stop), daemon=True) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        stop.wait()
        for thread in threads:
            thread.join(5)
        readers.close()

"""Tells the console when the first backup of a new installation is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from django.db import DatabaseError, connections

from backups.models import Snapshot
from panel.core.text import size

_PATIENCE_SECONDS = 600.0


def when_first_backup_is_there(say: Callable[[str], None]) -> threading.Thread:
    """Watch for the first snapshot from a thread of its own, and say a line about it."""
    thread = threading.Thread(target=_watch, args=(say,), name="announce", daemon=True)
    thread.start()
    return thread


def _watch(say: Callable[[str], None]) -> None:
    ends = time.monotonic() + _PATIENCE_SECONDS
    try:
        while time.monotonic() < ends:
            time.sleep(1)
            if line := first_backup():
                say(line)
                return
    except DatabaseError:
        return
    finally:
        connections.close_all()


def first_backup() -> str:
    """Return a line about the oldest snapshot; "" while there is none."""
    snapshot = Snapshot.objects.select_related("account", "job").order_by("taken_at", "id").first()
    if snapshot is None or (snapshot.job is not None and snapshot.job.finished_at is None):
        return ""
    whose = f" of {snapshot.account.name}" if snapshot.account else ""
    return (
        f"The first backup is there: snapshot {snapshot.short}{whose}, {snapshot.files} files, {size(snapshot.size)}."
    )

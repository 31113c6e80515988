"""The scheduler's loop: reaps, rings and says that it is alive.  What is due, the apps above tell it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from django.db import close_old_connections
from django.db.models import Exists, OuterRef

from panel.accounts.models import Server
from worker import doorbell
from worker.beats import SCHEDULER, beat
from worker.clock import now
from worker.models import JobItem
from worker.reaper import reap
from worker.states import State

_log = logging.getLogger(__name__)
EVERY_SECONDS = 5.0
Tick = Callable[[datetime], object]


def run(ticks: list[Tick], stop: threading.Event) -> None:
    """Tick until told to stop; a tick that fails is logged and tried again."""
    while not stop.is_set():
        close_old_connections()
        try:
            tick(ticks, now())
        except Exception:  # noqa: BLE001 - the scheduler must outlive whatever happens in one tick
            _log.exception("a tick failed")
        stop.wait(EVERY_SECONDS)


def tick(ticks: list[Tick], moment: datetime) -> None:
    """Do one round."""
    beat(SCHEDULER)
    reap()
    for each in ticks:
        each(moment)
    waiting = Exists(JobItem.objects.filter(state=State.PENDING, server=OuterRef("pk")).order_by())
    for queue in set(Server.objects.filter(waiting).values_list("queue", flat=True)):
        doorbell.ring(queue)

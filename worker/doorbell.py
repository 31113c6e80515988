"""Telling workers that there is something to claim.  Losing a message loses nothing: the scheduler rings again."""

from __future__ import annotations

import logging

from kombu.exceptions import OperationalError

from worker.celery import app

_log = logging.getLogger(__name__)
TASK = "worker.tasks.work"


def ring(queue: str) -> bool:
    """Send one message; False if the broker does not answer."""
    if app.conf.task_always_eager:
        return False
    try:
        app.send_task(TASK, queue=queue, ignore_result=True, retry=False)
    except (OperationalError, ConnectionError, OSError) as error:
        _log.warning("the broker does not answer (%s); the scheduler will ring again", error)
        return False
    return True

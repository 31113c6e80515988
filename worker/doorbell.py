"""Telling workers that there is something to claim.  Losing a message loses nothing: the scheduler rings again."""

from __future__ import annotations

import logging

from kombu.exceptions import OperationalError

from worker.celery import app

_log = logging.getLogger(__name__)
TASK = "worker.tasks.work"


def answering(seconds: float, *, first: bool = False) -> list[str]:
    """Return the names of the workers that answer within a time; with ``first`` of the first one, without delay."""
    if app.conf.task_always_eager:
        return []
    try:
        answers = app.control.ping(timeout=seconds, limit=1 if first else None) or []
    except Exception:  # noqa: BLE001 - whatever kombu raises for a broker that is gone
        return []
    return sorted(name for answer in answers for name in answer)


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

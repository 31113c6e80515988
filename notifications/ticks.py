"""What the scheduler does for people: it rings while mails or measurements are due, and sweeps what has ended."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from kombu.exceptions import OperationalError

from notifications.work import due
from panel.accounts.models import Letter, SignInLink
from panel.accounts.services.measuring import is_due
from worker.celery import app

_log = logging.getLogger(__name__)
TASK = "notifications.tasks.deliver"
MEASURE = "notifications.tasks.measure"
_KEPT = timedelta(days=30)


def letters_tick(moment: datetime) -> bool:
    """Ring for mails that are due; tell whether it rang."""
    if moment.minute == 0 and moment.second < 5:
        Letter.objects.filter(created_at__lt=moment - _KEPT).delete()
        SignInLink.objects.filter(expires_at__lt=moment - _KEPT).delete()
    if moment.second < 5 and is_due():
        _ring(MEASURE)
    return Letter.objects.filter(due(moment)).exists() and _ring(TASK)


def _ring(task: str) -> bool:
    try:
        app.send_task(task, queue=settings.WORKER_QUEUE, ignore_result=True, retry=False)
    except (OperationalError, ConnectionError, OSError) as error:
        _log.warning("the broker does not answer (%s); it is tried again", error)
        return False
    return True

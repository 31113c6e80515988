"""Celery's shell around the delivery of mails."""

from __future__ import annotations

from notifications.work import deliver_due
from worker.celery import app


@app.task(name="notifications.tasks.deliver", ignore_result=True)
def deliver() -> None:
    """Somebody rang: send what is due."""
    deliver_due()

"""Celery's shells around the delivery of mails and the measuring of accounts."""

from __future__ import annotations

from notifications.work import deliver_due
from panel.accounts.services.measuring import measure_due
from worker.celery import app


@app.task(name="notifications.tasks.deliver", ignore_result=True)
def deliver() -> None:
    """Somebody rang: send what is due."""
    deliver_due()


@app.task(name="notifications.tasks.measure", ignore_result=True)
def measure() -> None:
    """Somebody rang: measure what accounts use, for a minute."""
    measure_due()

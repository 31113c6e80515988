"""Celery's shell around the work."""

from __future__ import annotations

from celery import Task

from worker.celery import app
from worker.run import work as run_queue


@app.task(name="worker.tasks.work", bind=True, ignore_result=True)
def work(self: Task) -> None:
    """Somebody rang: see what there is to do on the queue the message came by."""
    run_queue(self.request.delivery_info.get("routing_key") or "server.local")

"""Attempts whose heartbeat stopped: their items wait again, once."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from worker import doorbell, leases
from worker.clock import now
from worker.finish import job_settle
from worker.joblog import log_line
from worker.models import Attempt, JobItem
from worker.states import State

HEARTBEAT_SECONDS = 5
LOST_AFTER = timedelta(seconds=30)
TRIES = 2


def reap(*, worker: str | None = None) -> int:
    """Declare attempts lost whose heartbeat is old; with ``worker``, all of that worker, which is known to be dead.

    Returns how many there were.
    """
    attempts = Attempt.objects.filter(outcome=Attempt.Outcome.RUNNING)
    if worker is None:
        # Beats of a clock that ran ahead: whoever lives beats again soon, the others are not waited for until then.
        attempts.filter(heartbeat_at__gt=now() + LOST_AFTER).update(heartbeat_at=now())
        attempts = attempts.filter(heartbeat_at__lt=now() - LOST_AFTER)
    else:
        attempts = attempts.filter(worker__startswith=worker)
    lost = [attempt for attempt in attempts.select_related("item__job", "item__server") if _lose(attempt)]
    for queue in {attempt.item.server.queue for attempt in lost}:
        doorbell.ring(queue)
    return len(lost)


def _lose(attempt: Attempt) -> bool:
    item, moment = attempt.item, now()
    with transaction.atomic():
        if not Attempt.objects.filter(pk=attempt.pk, outcome=Attempt.Outcome.RUNNING).update(
            outcome=Attempt.Outcome.LOST, finished_at=moment
        ):
            return False
        leases.free(attempt)
        rows = JobItem.objects.filter(pk=item.pk, state=State.RUNNING)
        if item.job.cancel_at is not None:
            rows.update(state=State.ABORTED, finished_at=moment, error="Stopped.", error_code="HF-CANCELED")
        elif item.tries >= TRIES:
            rows.update(
                state=State.FAILED,
                finished_at=moment,
                error_code="HF-WORKER-LOST",
                error="The worker stopped twice while it did this.",
                guidance="Look for “out of memory” in the server's log, then run it again; what was stored is used.",
            )
        else:
            rows.update(state=State.PENDING, waits_for="Its worker was lost; it starts again.")
            log_line(item.job, item, "The worker stopped answering; the item waits to start again.", level="warning")
        job_settle(item.job_id)
    return True

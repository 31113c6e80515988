"""Ending items and jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import F, Sum

from worker import leases
from worker.claim import Claim
from worker.clock import now
from worker.models import Attempt, Event, Job, JobItem
from worker.states import LIVE, State, job_state

_SUMMED = ("files_new", "files_changed", "files_unmodified", "data_added", "files_restored", "files_skipped")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an item ended.  ``error`` and ``guidance`` are sentences; ``result`` holds figures."""

    state: State
    result: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    error: str = ""
    guidance: str = ""
    warnings: int = 0


def item_finish(claim: Claim, outcome: Outcome) -> bool:
    """End an item that is ours; False if it is not any more (its attempt was declared lost)."""
    moment = now()
    with transaction.atomic():
        ours = Attempt.objects.filter(pk=claim.attempt.pk, outcome=Attempt.Outcome.RUNNING).update(
            outcome=Attempt.Outcome.ENDED, finished_at=moment
        )
        leases.free(claim.attempt)
        if not ours:
            return False
        changed = JobItem.objects.filter(pk=claim.item.pk, state=State.RUNNING).update(
            state=outcome.state,
            finished_at=moment,
            result=outcome.result,
            error_code=outcome.code,
            error=outcome.error,
            guidance=outcome.guidance,
            warnings=outcome.warnings,
            current="",
            speed=0,
        )
        if changed:
            job_settle(claim.item.job_id)
    return bool(changed)


def job_settle(job_id: int) -> None:
    """Count what is done, and end the job when nothing of it is left.  Within a transaction."""
    job = Job.objects.filter(pk=job_id, state__in=LIVE)
    # Two items that end at one moment must see each other: whoever comes second waits here.
    if Job.objects.select_for_update().filter(pk=job_id, state__in=LIVE).first() is None:
        return
    mine = JobItem.objects.filter(job=job_id)
    left = mine.filter(state__in=LIVE, finished_at=None).count()
    if left:
        job.update(items_done=F("items_total") - left)
        return
    wanted = ("state", "result", "error_code", "error", "guidance", "bytes_done", "spec")
    items = list(mine.order_by("id").values(*wanted))
    state = job_state([item["state"] for item in items])
    first = next((item for item in items if item["error"]), None)
    stats = {key: sum(int(item["result"].get(key, 0)) for item in items) for key in _SUMMED}
    moment = now()
    total = JobItem.objects.filter(job=job_id).aggregate(bytes=Sum("bytes_done"), files=Sum("files_done"))
    if job.update(
        state=state,
        finished_at=moment,
        items_done=len(items),
        speed=0,
        bytes_done=total["bytes"] or 0,
        files_done=total["files"] or 0,
        stats={key: value for key, value in stats.items() if value},
        error_code=first["error_code"] if first else "",
        error=_told(first, items) if first else "",
        guidance=first["guidance"] if first else "",
    ):
        Event.objects.create(kind=f"job.{state}", at=moment, job_id=job_id)


def _told(first: dict[str, Any], items: list[dict[str, Any]]) -> str:
    """Return an item's error, with the name of its destination if the job has several."""
    name = first["spec"].get("destination", "")
    several = len({item["spec"].get("destination", "") for item in items}) > 1
    return f"{name}: {first['error']}" if name and several else str(first["error"])


def items_give_up(job_id: int, lease: str, outcome: Outcome) -> int:
    """Fail what waits for the same lease as an item that a dead resource stopped.  Returns how many there were."""
    with transaction.atomic():
        count = JobItem.objects.filter(job=job_id, lease=lease, state=State.PENDING, finished_at=None).update(
            state=State.FAILED,
            finished_at=now(),
            waits_for="",
            error_code=outcome.code,
            error=f"Not tried: {outcome.error}",
            guidance=outcome.guidance,
        )
        if count:
            job_settle(job_id)
    return count


def job_cancel(job: Job, *, by: str) -> bool:
    """Ask a job to stop: what waits stops at once, what runs is told.  False if it has ended."""
    moment = now()
    with transaction.atomic():
        if not Job.objects.filter(pk=job.pk, state__in=LIVE, cancel_at=None).update(cancel_at=moment):
            return False
        JobItem.objects.filter(job=job, state=State.PENDING, finished_at=None).update(
            state=State.ABORTED, finished_at=moment, error=f"Stopped by {by}.", error_code="HF-CANCELED"
        )
        job_settle(job.pk)
    return True

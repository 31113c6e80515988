"""Reading jobs, each scoped to a viewer."""

from __future__ import annotations

from typing import Any

from worker.models import Job, JobItem
from worker.states import LIVE, State


def active_jobs(viewer: Any) -> list[Job]:
    """Return what runs and waits, restores first."""
    jobs = list(Job.objects.visible_to(viewer).filter(state__in=LIVE).select_related("account").order_by("id")[:50])
    for job in jobs:
        left = job.bytes_total - job.bytes_done
        job.seconds_left = left / job.speed if job.speed and left > 0 else None  # type: ignore[attr-defined]
    return sorted(jobs, key=lambda job: (job.state != State.RUNNING, job.kind != "restore", job.pk))


def items_visible(job: Job, viewer: Any) -> Any:
    """Return the items of a job that a viewer sees."""
    items = JobItem.objects.filter(job=job).select_related("account")
    return items if viewer.is_admin or job.account_id else items.none()


def log_after(job: Job, after: int) -> Any:
    """Return the log lines of a job after a line's number."""
    return job.log.filter(pk__gt=after).select_related("item")[:2000]

"""Reading jobs, each scoped to a viewer."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import Case, Count, IntegerField, Value, When

from panel.core.text import count, duration, size
from worker.causes import cause
from worker.clock import now
from worker.models import Job, JobItem
from worker.states import LIVE, Kind, State

LOG_LINES = 2000
_SURE_SECONDS = 15
_INNER = ("HF-STORE", "HF-REPO", "HF-SEAL", "HF-OS")
_STOPPED = re.compile(r"^stopped: .*\((HF-(?:STORE|REPO|SEAL|OS)[A-Z-]*)\)$", re.DOTALL)
_BY_WORKER = re.compile(r"^started by worker \S+")
_URGENT = (State.FAILED, State.WARNING, State.ABORTED, State.RUNNING, State.PENDING)


def active_jobs(viewer: Any) -> list[Job]:
    """Return what runs and waits, restores first."""
    # Few of the accounts belong to live jobs: asked for by number, as a join would read them all.
    live = Job.objects.visible_to(viewer).filter(state__in=LIVE).prefetch_related("account")
    jobs = list(live.order_by("id")[:50])
    for job in jobs:
        job.left = time_left(job)  # type: ignore[attr-defined]
    return sorted(jobs, key=lambda job: (job.state != State.RUNNING, job.kind != "restore", job.pk))


def time_left(job: Job) -> str:
    """Return about how long a job still takes, in whole minutes; empty until there is something to go by."""
    left = job.bytes_total - job.bytes_done
    ran = (now() - job.started_at).total_seconds() if job.started_at else 0
    if left <= 0 or not job.speed or ran < _SURE_SECONDS:
        return ""
    seconds = left / job.speed
    return "under 1 min" if seconds < 60 else duration(60 * round(seconds / 60))


def items_visible(job: Job, viewer: Any) -> Any:
    """Return the items of a job that a viewer sees, those that need somebody first."""
    items = JobItem.objects.filter(job=job).select_related("account")
    if not viewer.is_admin and not job.account_id:
        return items.none()
    order = [When(state=state, then=Value(number)) for number, state in enumerate(_URGENT)]
    return items.annotate(order=Case(*order, default=Value(len(order)), output_field=IntegerField())).order_by(
        "order", "id"
    )


def items_by_state(job: Job) -> list[tuple[str, int]]:
    """Return how many items of a job are in each state."""
    rows = JobItem.objects.filter(job=job).order_by().values_list("state").annotate(Count("pk"))
    return sorted(rows, key=lambda row: list(State).index(State(row[0])))


def log_after(job: Job, after: int) -> Any:
    """Return the log lines of a job after a line's number, the oldest first."""
    return job.log.filter(pk__gt=after).select_related("item")[:LOG_LINES]


def log_end(job: Job) -> tuple[list[Any], int]:
    """Return the last lines of a job's log, and how many there are in all."""
    total = job.log.count()
    return list(job.log.select_related("item").order_by("-pk")[:LOG_LINES])[::-1], total


def statistics(job: Job, viewer: Any) -> list[tuple[str, str]]:
    """Return the figures at the end of a job's log.  What was stored new, only administrators see."""
    stats = job.stats
    if job.kind == Kind.BACKUP:
        rows = [
            ("New files", f"{stats.get('files_new', 0):,}"),
            ("Changed files", f"{stats.get('files_changed', 0):,}"),
            ("Unmodified files", f"{stats.get('files_unmodified', 0):,}"),
        ]
        if viewer.is_admin:
            rows.append(("Data transferred", size(stats.get("data_added", 0))))
    elif job.kind == Kind.RESTORE:
        rows = [
            ("Files restored", f"{stats.get('files_restored', 0):,}"),
            ("Files skipped", f"{stats.get('files_skipped', 0):,}"),
            ("Bytes", size(job.bytes_done)),
        ]
    else:
        rows = [(name.replace("_", " ").capitalize(), f"{value:,}") for name, value in stats.items()]
    if job.started_at and job.finished_at:
        took = (job.finished_at - job.started_at).total_seconds()
        rows.append(("Elapsed time" if job.kind == Kind.RESTORE else "Total duration", duration(took)))
    return rows


def plain_error(job: Job) -> str:
    """Return what happened as a customer may read it: no host, no path of the storage."""
    inner = job.error_code.startswith(_INNER)
    return cause(job.error_code) if inner else job.error


def shown_line(text: str, viewer: Any) -> str:
    """Return a line of a log as its reader may see it: customers are told no host and no path of the storage."""
    if viewer.is_admin:
        return text
    text = _BY_WORKER.sub("started", text)
    return _STOPPED.sub(lambda match: f"stopped: {cause(match[1])} ({match[1]})", text)


def headline(job: Job) -> str:
    """Return what a job's end means, as the title of its error."""
    done = {
        Kind.BACKUP: "backed up", Kind.RESTORE: "restored", Kind.DOWNLOAD: "made ready", Kind.CHECK: "checked",
        Kind.CLEANUP: "cleaned up", Kind.REINDEX: "read again", Kind.TEST: "tested", Kind.KEY: "changed",
    }.get(Kind(job.kind), "done")  # fmt: skip
    failed = sum(many for state, many in items_by_state(job) if state in (State.FAILED, State.ABORTED))
    if job.state == State.WARNING:
        return f"“{job.name}” was {done}, with gaps"
    if job.state == State.PARTIAL and job.items_total > 1:
        verb = "was" if failed == 1 else "were"
        return f"{count(failed, 'part')} of {job.items_total:,} of “{job.name}” {verb} not {done}"
    good = job.items_total - failed
    if job.state == State.ABORTED and job.items_total > 1 and good > 0:
        return f"“{job.name}” was stopped: {good:,} of {job.items_total:,} parts are {done}"
    return f"“{job.name}” was not {done}"

"""Reading destinations, their traffic, and how each did in a job; scoped to a viewer."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django.db.models import Count, F, Q, Sum

from destinations.models import DayTraffic, Destination, JobTraffic, S3Defaults
from destinations.words import headline, step_name
from panel.accounts.models import Account
from worker.clock import now
from worker.models import Job, JobItem
from worker.states import ENDED, State, job_state

DAYS = 30


def custom_accounts(viewer: Any) -> Any:
    """Return the accounts for which a viewer may enter storage of their own."""
    return Account.objects.visible_to(viewer).living().filter(package__custom_storage=True)


def may_see_destinations(viewer: Any) -> bool:
    """Tell whether there are destination pages for a viewer."""
    return bool(viewer.is_admin or custom_accounts(viewer).exists())


def destinations_listed(viewer: Any) -> list[Destination]:
    """Return the destinations of a viewer, each with the number of its schedules."""
    used = Count("schedules", filter=Q(schedules__deleted_at=None), distinct=True)
    rows = Destination.objects.visible_to(viewer).present().select_related("account").annotate(used_by=used)
    return list(rows.order_by("name"))


def s3_defaults() -> S3Defaults:
    """Return the global S3 settings."""
    return S3Defaults.objects.filter(pk=1).first() or S3Defaults(pk=1)


def test_shown(destination: Destination) -> dict[str, Any]:
    """Return what the page shows of a test: its steps, how it stands, and what a failure means."""
    job = destination.test_job
    live = bool(job and job.is_live)
    steps = [step | {"title": step_name(step["name"])} for step in destination.test_report]
    failed = next((step for step in steps if step["state"] == "failed"), None)
    reached = sum(step["state"] in ("ok", "warning", "failed", "running") for step in steps)
    error = None
    if failed is not None:
        error = failed | {"headline": headline(failed)}
    elif job and not live and job.error and not destination.test_ok:
        error = {"headline": "The test did not run", "detail": job.error, "guidance": job.guidance}
        error |= {"code": job.error_code, "fingerprint": ""}
    waits = job.items.first().waits_for if live and job and job.state == State.PENDING and job.items.exists() else ""
    return {
        "live": live,
        "steps": steps,
        "reached": reached,
        "failed": failed,
        "error": error,
        "doubts": sum(step["state"] == "warning" for step in steps),
        "waits_for": waits,
    }


def traffic_by_day(destination: Destination, days: int = DAYS) -> list[dict[str, Any]]:
    """Return what went through on each of the last days, the newest first; days without traffic are zeros."""
    today = now().date()
    rows = {
        row["day"]: row
        for row in DayTraffic.objects.filter(destination=destination, day__gt=today - timedelta(days=days)).values(
            "day", "sent", "received", "requests"
        )
    }
    empty = {"sent": 0, "received": 0, "requests": 0}
    wanted = [today - timedelta(days=back) for back in range(days)]
    return [{"day": day, **empty, **rows.get(day, {})} for day in wanted]


def traffic_total(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Return the sums of days."""
    return {name: sum(row[name] for row in rows) for name in ("sent", "received", "requests")}


def traffic_since(destination: Destination, day: date) -> dict[str, int]:
    """Return what went through since a day, that day included."""
    found = DayTraffic.objects.filter(destination=destination, day__gte=day).aggregate(
        sent=Sum("sent"), received=Sum("received"), requests=Sum("requests")
    )
    return {name: value or 0 for name, value in found.items()}


def job_destinations(job: Job) -> list[dict[str, Any]]:
    """Return, for each destination of a job, how its items ended, what went through, and its first error."""
    counted = (
        JobItem.objects.filter(job=job).values("lease", "state").annotate(count=Count("pk"), bytes=Sum("bytes_done"))
    )
    by_lease: dict[str, dict[str, int]] = {}
    done: dict[str, int] = {}
    for row in counted.order_by():
        by_lease.setdefault(row["lease"], {})[row["state"]] = row["count"]
        done[row["lease"]] = done.get(row["lease"], 0) + (row["bytes"] or 0)
    through = {row.destination_id: row for row in JobTraffic.objects.filter(job=job)}
    names = dict(
        Destination.objects.filter(Q(pk__in=through) | Q(repositories__in=_repositories(by_lease)))
        .annotate(lease=F("repositories"))
        .values_list("lease", "pk")
    )
    rows = {row.pk: row for row in Destination.objects.filter(pk__in={*names.values(), *through})}
    return [
        _result(job, lease, states, rows.get(names.get(_number(lease), 0)), through, done[lease])
        for lease, states in sorted(by_lease.items())
        if lease
    ]


def _result(
    job: Job,
    lease: str,
    states: dict[str, int],
    destination: Destination | None,
    through: dict[int, JobTraffic],
    done: int,
) -> dict[str, Any]:
    ended = {state: count for state, count in states.items() if state in ENDED}
    total = sum(states.values())
    state = job_state(list(ended)) if sum(ended.values()) == total else State.RUNNING
    if not ended and State.RUNNING not in states:
        state = State.PENDING
    worst = None
    if states.get(State.FAILED) or states.get(State.ABORTED) or states.get(State.SKIPPED):
        worst = job.items.filter(lease=lease).exclude(error="").order_by("finished_at").first()
    return {
        "destination": destination,
        "state": state,
        "good": states.get(State.SUCCESS, 0) + states.get(State.WARNING, 0),
        "failed": states.get(State.FAILED, 0),
        "total": total,
        "bytes": done,
        "traffic": through.get(destination.pk) if destination else None,
        "error": worst,
    }


def _repositories(leases: Any) -> list[int]:
    return [number for lease in leases if (number := _number(lease))]


def _number(lease: str) -> int:
    kind, _, number = lease.partition(":")
    return int(number) if kind == "repository" and number.isdecimal() else 0

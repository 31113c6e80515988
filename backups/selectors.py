"""Reading schedules and snapshots, each scoped to a viewer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import OuterRef, Q, Subquery

from backups.models import Schedule, Snapshot
from backups.timing import Timing
from panel.accounts.models import Account
from worker.models import Job

COMPONENTS = {"full": ("web", "config"), "web": ("web",), "config": ("config",)}
"""Scope → the components it holds today; the other scopes are offered when their sources exist."""


def timing_of(schedule: Schedule) -> Timing:
    """Return the rule of a schedule.  ValueError for one that is not possible."""
    return Timing(
        frequency=schedule.frequency,  # type: ignore[arg-type]
        hour=schedule.hour,
        minute=schedule.minute,
        weekday=schedule.weekday,
        day=schedule.day,
        every=schedule.every,
        custom=schedule.cron,
        zone=schedule.zone,
        jitter=schedule.jitter,
        window=schedule.window,
        seed=str(schedule.pk or 0),
    )


def schedules_with_last(viewer: Any) -> list[Schedule]:
    """Return the schedules a viewer sees, each with ``last_job`` (or None)."""
    schedules = list(
        Schedule.objects.visible_to(viewer)
        .present()
        .select_related("account", "server")
        .prefetch_related("destinations")
    )
    subjects = [f"schedule:{schedule.pk}" for schedule in schedules]
    last = Job.objects.filter(subject=OuterRef("subject")).order_by("-id").values("pk")[:1]
    jobs = Job.objects.filter(subject__in=subjects, pk=Subquery(last))
    by_subject = {job.subject: job for job in jobs}
    for schedule in schedules:
        schedule.last_job = by_subject.get(f"schedule:{schedule.pk}")  # type: ignore[attr-defined]
    return schedules


def snapshots_visible(viewer: Any) -> Any:
    """Return the snapshots a viewer may use."""
    return (
        Snapshot.objects.visible_to(viewer).present().select_related("account", "schedule", "repository__destination")
    )


def neighbours(snapshot: Snapshot, viewer: Any) -> tuple[Snapshot | None, Snapshot | None]:
    """Return the snapshots of the same account and destination before and after one."""
    same = snapshots_visible(viewer).filter(account=snapshot.account, repository=snapshot.repository)
    older = same.filter(taken_at__lt=snapshot.taken_at).order_by("-taken_at").first()
    newer = same.filter(taken_at__gt=snapshot.taken_at).order_by("taken_at").first()
    return older, newer


def last_good(accounts: Any) -> dict[int, datetime]:
    """Return when each account's newest whole snapshot was taken."""
    rows = (
        Snapshot.objects.filter(account__in=accounts, removed_at=None, damaged_at=None)
        .order_by("account", "-taken_at")
        .values_list("account", "taken_at")
    )
    newest: dict[int, datetime] = {}
    for account, taken in rows:
        newest.setdefault(account, taken)
    return newest


def safety_of(viewer: Any, now: datetime, hours: int = 48) -> dict[str, Any]:
    """Return how many of a viewer's accounts are safe: those with a whole snapshot younger than ``hours``."""
    accounts = list(Account.objects.visible_to(viewer).living().select_related("server"))
    newest = last_good(accounts)
    edge = now - timedelta(hours=hours)
    for account in accounts:
        account.last_good = newest.get(account.pk)  # type: ignore[attr-defined]
        account.is_safe = bool(account.last_good and account.last_good >= edge)  # type: ignore[attr-defined]
    accounts.sort(key=lambda account: (account.is_safe, account.last_good is not None, account.name))  # type: ignore[attr-defined]
    safe = sum(1 for account in accounts if account.is_safe)  # type: ignore[attr-defined]
    return {"accounts": accounts, "safe": safe, "total": len(accounts), "unsafe": len(accounts) - safe}


def heat_map(viewer: Any, now: datetime, weeks: int = 18) -> dict[str, str]:
    """Return the worst result of each day (``2026-11-21``) of the last weeks."""
    since = now - timedelta(weeks=weeks)
    order = {"success": 0, "skipped": 0, "warning": 1, "partial": 2, "aborted": 2, "failed": 3}
    days: dict[str, str] = {}
    rows = Job.objects.visible_to(viewer).filter(Q(kind="backup") & Q(finished_at__gte=since))
    for finished, state in rows.values_list("finished_at", "state"):
        day = finished.date().isoformat()
        if order.get(state, 0) >= order.get(days.get(day, "success"), 0):
            days[day] = state
    return days

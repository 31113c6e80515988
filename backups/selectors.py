"""Reading schedules and snapshots, each scoped to a viewer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Q

from backups.models import Schedule, Snapshot
from backups.timing import Timing, sentence
from worker.models import Job

_PAGE = 50

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


@dataclass(frozen=True, slots=True)
class SchedulePage:
    """A page of schedules, each with ``last_job``, ``when``, ``kept`` and ``is_waiting_for_key``."""

    schedules: list[Schedule]
    total: int
    enabled: int
    next_after: int | None


def schedules_page(viewer: Any, *, query: str = "", after: int = 0, twelve: bool = True) -> SchedulePage:
    """Return the schedules a viewer sees, up to fifty after the one with the number ``after``."""
    rows = Schedule.objects.visible_to(viewer).present()
    if query:
        rows = rows.filter(Q(name__icontains=query) | Q(account__name__istartswith=query))
    sums = rows.aggregate(total=Count("pk"), enabled=Count("pk", filter=Q(is_enabled=True)))
    wanted = rows.filter(pk__gt=after).order_by("pk").select_related("account", "server")
    found = list(wanted.prefetch_related("destinations")[: _PAGE + 1])
    shown = found[:_PAGE]
    jobs = _last_jobs([f"schedule:{schedule.pk}" for schedule in shown])
    for schedule in shown:
        job = jobs.get(f"schedule:{schedule.pk}")
        schedule.last_job = job  # type: ignore[attr-defined]
        schedule.when = sentence(timing_of(schedule), twelve=twelve)  # type: ignore[attr-defined]
        schedule.kept = kept_words(schedule.retention)  # type: ignore[attr-defined]
        schedule.is_waiting_for_key = bool(job and job.error_code == "HF-REPO-KEY")  # type: ignore[attr-defined]
    return SchedulePage(shown, sums["total"], sums["enabled"], shown[-1].pk if len(found) > _PAGE else None)


def unsaved_keys(viewer: Any) -> dict[str, Any]:
    """Return a schedule whose key nobody saved yet, and how many more there are."""
    rows = Schedule.objects.visible_to(viewer).present().filter(key_saved_at=None).exclude(sealed_key="")
    first = rows.order_by("pk").first()
    return {"first": first, "more": rows.count() - 1} if first else {}


def kept_words(rules: dict[str, Any]) -> tuple[str, str]:
    """Return what is kept in two short lines: ``About 17``, ``by rules``."""
    counts = {name: int(value) for name, value in rules.items() if value}
    if not counts:
        return "Everything", ""
    if set(counts) == {"last"}:
        return f"Last {counts['last']:,}", ""
    return f"About {sum(counts.values()):,}", "by rules"


def overdue_schedules(viewer: Any, now: datetime) -> list[Schedule]:
    """Return the schedules whose moment has passed with nothing running: reported ones, and those nobody looked after.

    The second kind needs no scheduler: it is what tells that the scheduler itself stands still.
    """
    rows = Schedule.objects.visible_to(viewer).present().filter(is_enabled=True).select_related("account")
    late = rows.filter(next_run_at__lt=now - timedelta(minutes=5)).order_by("next_run_at")[:_PAGE]
    found = [schedule for schedule in late if schedule.next_run_at + timedelta(minutes=schedule.grace) < now]
    for schedule in found:
        schedule.overdue_since = schedule.overdue_since or schedule.next_run_at
    reported = rows.exclude(overdue_since=None).exclude(pk__in=[schedule.pk for schedule in found])
    return [*found, *reported[:_PAGE]]


def _last_jobs(subjects: list[str]) -> dict[str, Job]:
    newest = Job.objects.filter(subject__in=subjects).values("subject").annotate(last=Max("pk")).values("last")
    return {job.subject: job for job in Job.objects.filter(pk__in=newest)}


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

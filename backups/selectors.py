"""Reading schedules and snapshots, each scoped to a viewer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import CharField, Count, OuterRef, Q, Subquery, Value
from django.db.models.functions import Cast, Concat

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
class ScheduleRow:
    """A schedule as a list shows it: its rule as a sentence, what it keeps in two short lines, its newest job."""

    schedule: Schedule
    when: str
    kept: tuple[str, str]
    last_job: Job | None

    @property
    def is_waiting_for_key(self) -> bool:
        """Whether the newest run found a repository that another key opens."""
        return self.last_job is not None and self.last_job.error_code == "HF-REPO-KEY"


@dataclass(frozen=True, slots=True)
class SchedulePage:
    """A page of schedules, and how many there are in all; ``next_after`` is where the next page begins, if any."""

    rows: list[ScheduleRow]
    total: int
    enabled: int
    next_after: int | None


def schedules_page(viewer: Any, *, query: str = "", after: int = 0, twelve: bool = True) -> SchedulePage:
    """Return the schedules a viewer sees, up to fifty after the one with the number ``after``."""
    rows = Schedule.objects.visible_to(viewer).present()
    if query:
        rows = rows.filter(Q(name__icontains=query) | Q(account__name__istartswith=query))
    sums = rows.aggregate(total=Count("pk"), enabled=Count("pk", filter=Q(is_enabled=True)))
    # Not joined: the accounts of a page are few, and a join reads them all.
    wanted = rows.filter(pk__gt=after).order_by("pk").prefetch_related("account", "destinations")
    found = list(wanted[: _PAGE + 1])
    shown = found[:_PAGE]
    jobs = _last_jobs([schedule.pk for schedule in shown])
    page = [
        ScheduleRow(
            schedule=schedule,
            when=sentence(timing_of(schedule), twelve=twelve),
            kept=kept_words(schedule.retention),
            last_job=jobs.get(f"schedule:{schedule.pk}"),
        )
        for schedule in shown
    ]
    return SchedulePage(page, sums["total"], sums["enabled"], shown[-1].pk if len(found) > _PAGE else None)


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


def _last_jobs(schedules: list[int]) -> dict[str, Job]:
    """Return the newest job of each schedule, by subject: the end of an index, however many jobs it had."""
    subject = Concat(Value("schedule:"), Cast(OuterRef("pk"), CharField()))
    newest = Job.objects.filter(subject=subject).order_by("-pk").values("pk")[:1]
    wanted = Schedule.objects.filter(pk__in=schedules).order_by().annotate(newest=Subquery(newest))
    return {job.subject: job for job in Job.objects.filter(pk__in=wanted.values("newest"))}


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

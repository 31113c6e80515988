"""What pages of other rooms show of backups: the next run, a job's destinations, and what is not lost."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import template
from django.db.models import Exists

from backups.models import Schedule, Snapshot
from destinations.selectors import job_destinations
from panel.options.models import Option
from worker.clock import now
from worker.models import Job
from worker.states import Kind, State

register = template.Library()


@register.simple_tag(takes_context=True)
def next_planned(context: dict[str, Any]) -> Schedule | None:
    """Return the schedule of the viewer that runs next; none while backups are switched off."""
    off = Option.objects.filter(key="backup_enabled", value=False)
    rows = Schedule.objects.visible_to(context["user"]).present().filter(~Exists(off))
    return rows.filter(is_enabled=True, next_run_at__gt=now()).order_by("next_run_at").first()


@register.simple_tag(takes_context=True)
def clock_of(context: dict[str, Any], moment: datetime) -> str:
    """Return the time of day of a line of a log, in the reader's zone."""
    user = getattr(context.get("request"), "user", None)
    return f"{moment.astimezone(ZoneInfo(getattr(user, 'zone', '') or 'UTC')):%H:%M:%S}"


@register.simple_tag
def schedule_of(job: Job) -> Schedule | None:
    """Return the schedule of a job if it is still there."""
    kind, _, number = job.subject.partition(":")
    if kind != "schedule" or not number.isdecimal():
        return None
    return Schedule.objects.present().filter(pk=int(number)).first()


@register.simple_tag
def results_by_destination(job: Job) -> list[dict[str, Any]]:
    """Return how each destination of a job did and what went through; nothing for jobs that have none."""
    return job_destinations(job)


@register.simple_tag
def still_there(job: Job) -> Snapshot | None:
    """Return the newest whole snapshot of the account of a backup that did not succeed."""
    if job.kind != Kind.BACKUP or job.account_id is None or job.state not in (State.FAILED, State.ABORTED):
        return None
    good = Snapshot.objects.good().filter(account=job.account_id)
    return good.select_related("schedule").order_by("-taken_at").first()

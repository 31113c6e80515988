"""Backups → History."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.db.models import OuterRef, Q, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from backups.models import Snapshot
from panel.audit.services import record
from panel.options.selectors import number as option_number
from worker.clock import now
from worker.days import days_forget
from worker.models import Job
from worker.states import ENDED, LIVE, Kind, State

PAGE = 50
GROUPS = {"live": ("Running and waiting", LIVE), "ended": ("Ended", ENDED), "bad": ("Not all good", ())}
_BAD = (State.WARNING, State.PARTIAL, State.FAILED, State.ABORTED)
_UPKEEP = (Kind.CLEANUP, Kind.CHECK)
"""What looks every day whether there is something to do; a day without is no news."""
_FIELDS = ("kind", "state", "schedule", "account", "from", "to")


def history(request: HttpRequest) -> HttpResponse:
    """List jobs, newest first, filtered by type, result, schedule, account and date."""
    chosen = {name: request.GET.get(name, "").strip()[:100] for name in _FIELDS}
    before, after = _number(request.GET.get("before")), _number(request.GET.get("after"))
    jobs = filtered(request.user, chosen)
    shown, newer, older = _page(jobs, before, after)
    kept = urlencode({name: value for name, value in chosen.items() if value})
    context = {
        "jobs": shown,
        "newer": f"{kept}&after={shown[0].pk}" if shown and newer else "",
        "older": f"{kept}&before={shown[-1].pk}" if shown and older else "",
        "kinds": Kind.choices,
        "states": [(key, label) for key, (label, _) in GROUPS.items()] + list(State.choices),
        "chosen": chosen,
        "is_filtered": any(chosen.values()),
        "days": option_number("history_days"),
    }
    part = "backups/history.html#rows" if request.headers.get("HX-Target") == "rows" else "backups/history.html"
    return render(request, part, context)


def filtered(viewer: Any, chosen: dict[str, str]) -> Any:
    """Return the jobs a viewer sees that match a filter; what cannot be understood filters nothing."""
    jobs: Any = Job.objects.visible_to(viewer).select_related("account", "restore", "requested_by")
    if chosen["kind"] in Kind.values:
        jobs = jobs.filter(kind=chosen["kind"])
    if chosen["state"] in GROUPS:
        jobs = jobs.filter(state__in=_BAD if chosen["state"] == "bad" else GROUPS[chosen["state"]][1])
    elif chosen["state"] in State.values:
        jobs = jobs.filter(state=chosen["state"])
    elif not chosen["kind"]:
        jobs = jobs.exclude(state=State.SKIPPED, trigger="scheduled", kind__in=_UPKEEP)
    if chosen["schedule"]:
        jobs = jobs.filter(name__icontains=chosen["schedule"])
    if chosen["account"]:
        own = Q(account__name__istartswith=chosen["account"]) | Q(account__uid=chosen["account"])
        jobs = jobs.filter(own)
    return jobs.filter(_between(chosen["from"], chosen["to"], viewer.zone or "UTC"))


def _between(begin: str, end: str, zone: str) -> Q:
    """Return what lies within whole days of a zone; jobs that still go on count by the day they were made."""
    inside, made = Q(), Q(state__in=LIVE)
    if first := _midnight(begin, zone):
        inside &= Q(finished_at__gte=first)
        made &= Q(created_at__gte=first)
    if last := _midnight(end, zone, days=1):
        inside &= Q(finished_at__lt=last)
        made &= Q(created_at__lt=last)
    return (inside | made) if inside else Q()


def _midnight(text: str, zone: str, days: int = 0) -> datetime | None:
    try:
        day = date.fromisoformat(text) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))


def _page(jobs: Any, before: int, after: int) -> tuple[list[Any], bool, bool]:
    """Return a page, and whether there are newer and older ones; a page costs the same wherever it is."""
    first = Snapshot.objects.filter(job=OuterRef("pk")).order_by("-pk").values("snapshot_id")[:1]
    jobs = jobs.annotate(snapshot_id=Subquery(first))
    if after:
        found = list(jobs.filter(pk__gt=after).order_by("pk")[: PAGE + 1])
        return found[:PAGE][::-1], len(found) > PAGE, True
    found = list((jobs.filter(pk__lt=before) if before else jobs).order_by("-pk")[: PAGE + 1])
    return found[:PAGE], bool(before), len(found) > PAGE


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 19 else 0


@require_POST
def history_clear(request: HttpRequest) -> HttpResponse:
    """Remove ended jobs older than the setting; restores that can be undone, and downloads, stay."""
    if not request.user.is_admin:
        raise Http404
    edge = now() - timedelta(days=option_number("history_days"))
    old = Job.objects.filter(state__in=ENDED, finished_at__lt=edge, restore=None, download=None)
    removed = old.count()
    old.delete()
    days_forget(edge)
    record("history.cleared", actor=request.user, entries=removed)
    messages.info(request, f"{removed:,} old entries are deleted." if removed else "There are no entries that old.")
    return redirect("backups:history")

"""What the overview shows: the answer, who needs somebody, what comes next, where the space goes, the last weeks."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Exists, OuterRef, Q

from backups.models import Schedule, SnapshotKind
from backups.safety import WEEKS, damaged_of, heat_map, proofs_of, safety_of, worst_of
from backups.selectors import overdue_schedules, snapshots_visible, unsaved_keys
from destinations.models import Destination
from panel.core.text import count
from worker.models import Job
from worker.states import Kind, State

_LISTED = 6
_WORDS = {
    "success": "all good",
    "warning": "with warnings",
    "partial": "partly done",
    "failed": "something failed",
    "overdue": "a run did not start",
    "aborted": "stopped by somebody",
    "skipped": "skipped",
    "": "nothing ran",
}
_BAD = ("failed", "overdue", "partial", "warning", "aborted")


def overview_context(user: Any, now: datetime) -> dict[str, Any]:
    """Return everything the overview shows to a viewer."""
    zone = ZoneInfo(user.zone or "UTC")
    days = heat_map(user, now, zone)
    today = now.astimezone(zone).date()
    overdue = overdue_schedules(user, now)
    points = snapshots_visible(user).exclude(kind=SnapshotKind.SAFETY)  # It holds what a restore touched, no more.
    schedules = Schedule.objects.visible_to(user).present()
    context: dict[str, Any] = safety_of(user, now) | damaged_of(user)
    context |= {
        "today": now,
        "zone": user.zone,
        "heat": calendar(days, today),
        "months": months(today),
        "days_good": sum(worst_of(results) == "success" for results in days.values()),
        "days_ran": len(days),
        "newest_trouble": newest_trouble(days, today),
        "next_runs": list(schedules.filter(is_enabled=True, next_run_at__gt=now).order_by("next_run_at")[:_LISTED]),
        "destinations": Destination.objects.visible_to(user).filter(removed_at=None).order_by("name")[:_LISTED],
        "points": list(points[:_LISTED]),
        "proofs": proofs_of(user),
        "failed": _failed(user, now),
        "overdue": overdue[:_LISTED],
        "overdue_many": len(overdue),
        "unsaved": unsaved_keys(user),
    }
    context["needs"] = bool(context["failed"] or overdue or context["waiting"] or context["damaged"])
    context["steps"] = first_steps(user, context)
    return context


def first_steps(user: Any, context: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of a new installation until the first good backup and a saved key; then none."""
    if not user.is_admin:
        return []
    any_schedule = Schedule.objects.present().exists()
    done = [
        ("Add a destination", "Where backups go.", "Add destination", "destinations:destination_create",
         bool(context["destinations"])),
        ("Make a schedule", "What, when, and how long it is kept.", "New schedule", "backups:schedule_create",
         any_schedule),
        ("See the first good backup", "Run now starts it.", "To the schedules", "backups:schedule_list",
         bool(context["safe"])),
        ("Save the key outside this server", "Without it nobody can restore.", "Save key", "backups:schedule_list",
         any_schedule and not context["unsaved"]),
    ]  # fmt: skip
    if all(good for *_, good in done):
        return []
    first = next(number for number, (*_, good) in enumerate(done) if not good)
    return [
        {"title": title, "text": text, "button": button, "view": view, "done": good, "live": number == first}
        for number, (title, text, button, view, good) in enumerate(done)
    ]


def calendar(days: dict[date, dict[str, int]], today: date) -> list[dict[str, Any]]:
    """Return the heat-map: a row for each weekday, in it a cell for each week."""
    monday = _first_monday(today)
    rows = []
    for weekday in range(7):
        cells = []
        for week in range(WEEKS):
            day = monday + timedelta(weeks=week, days=weekday)
            state = worst_of(days.get(day, {}))
            text = f"{day:%a, %b} {day.day}: {_WORDS[state]}"
            cells.append({"day": day, "state": state, "text": text, "today": day == today, "future": day > today})
        rows.append({"name": f"{monday + timedelta(days=weekday):%a}", "cells": cells})
    return rows


def months(today: date) -> list[str]:
    """Return what stands above each week: the month's name where it begins and goes on for another week."""
    names = [f"{_first_monday(today) + timedelta(weeks=week):%b}" for week in range(WEEKS)]
    first = [week for week in range(WEEKS) if week == 0 or names[week] != names[week - 1]]
    return [name if week in first and names[week + 1 : week + 2] == [name] else "" for week, name in enumerate(names)]


def newest_trouble(days: dict[date, dict[str, int]], today: date) -> str:
    """Return in words when something last went wrong; empty if nothing did."""
    bad = sorted((day for day, results in days.items() if worst_of(results) in _BAD), reverse=True)
    if not bad:
        return ""
    day, results = bad[0], days[bad[0]]
    state, total = worst_of(results), sum(results.values())
    when = {today: "Today,", today - timedelta(days=1): "Yesterday,"}.get(day, f"On {day:%b} {day.day},")
    verb = {"failed": "failed", "overdue": "did not start", "partial": "were done in part", "warning": "had warnings",
            "aborted": "were stopped"}  # fmt: skip
    before = f" Before that, {bad[1]:%b} {bad[1].day} was not all good." if len(bad) > 1 else ""
    return f"{when} {results[state]:,} of {count(total, 'run')} {verb[state]}.{before}"


def _failed(user: Any, now: datetime) -> list[Job]:
    """Return the jobs that failed within a day and were not made good since."""
    jobs = Job.objects.visible_to(user).filter(
        state__in=(State.FAILED, State.PARTIAL), finished_at__gte=now - timedelta(days=1)
    )
    later = Job.objects.filter(
        subject=OuterRef("subject"), pk__gt=OuterRef("pk"), state__in=(State.SUCCESS, State.WARNING)
    )
    bad = jobs.filter(~Q(kind=Kind.BACKUP) | Q(subject="") | ~Exists(later)).select_related("account").order_by("-id")
    found: dict[str, Job] = {}
    for job in bad[: 5 * _LISTED]:
        found.setdefault(job.subject or f"job:{job.pk}", job)
    return list(found.values())[:_LISTED]


def _first_monday(today: date) -> date:
    return today - timedelta(days=today.weekday()) - timedelta(weeks=WEEKS - 1)

"""Backups → Schedules."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from backups.forms import ScheduleForm
from backups.models import Schedule
from backups.selectors import schedules_with_last, timing_of
from backups.services import schedules as verbs
from backups.timing import Timing, next_runs, sentence
from panel.accounts.models import Server
from panel.core.errors import PanelError
from panel.options.selectors import number as option_number


def schedule_list(request: HttpRequest) -> HttpResponse:
    """List the schedules a viewer sees."""
    schedules = schedules_with_last(request.user)
    for schedule in schedules:
        schedule.when = sentence(timing_of(schedule))  # type: ignore[attr-defined]
    unsaved = [schedule for schedule in schedules if schedule.key_saved_at is None]
    enabled = sum(schedule.is_enabled for schedule in schedules)
    part = (
        "backups/schedule_list.html#rows"
        if request.headers.get("HX-Target") == "rows"
        else "backups/schedule_list.html"
    )
    return render(request, part, {"schedules": schedules, "unsaved": unsaved, "enabled": enabled})


def schedule_create(request: HttpRequest) -> HttpResponse:
    """Show the form, or make a schedule."""
    initial = {"keep": option_number("default_retention"), "zone": request.user.zone}
    form = ScheduleForm(request.POST or None, viewer=request.user, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            schedule = verbs.schedule_create(_data(form), actor=request.user)
            if request.POST.get("run"):
                verbs.schedule_run(schedule, actor=request.user)
        except PanelError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"“{schedule.name}” is made. Save its key outside this server.")
            return redirect("backups:schedule_list")
    return _page(request, form, None)


def schedule_update(request: HttpRequest, number: int) -> HttpResponse:
    """Show the form of a schedule, or change it."""
    schedule = _schedule(request, number)
    initial = {field: getattr(schedule, field) for field in ScheduleForm.base_fields if hasattr(schedule, field)}
    initial |= {
        "keep": schedule.retention.get("last", option_number("default_retention")),
        "destinations": schedule.destinations.all(),
        "excludes": "\n".join(schedule.excludes),
        "mode": schedule.mode,
    }
    form = ScheduleForm(request.POST or None, viewer=request.user, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            verbs.schedule_update(schedule, _data(form), actor=request.user)
        except PanelError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"“{schedule.name}” is saved.")
            return redirect("backups:schedule_list")
    return _page(request, form, schedule)


def timing_preview(request: HttpRequest) -> HttpResponse:
    """Show the schedule in one sentence and its next five runs while it is edited."""
    return render(request, "backups/schedule_form.html#preview", {"preview": _preview(request.GET)})


@require_POST
def schedule_run(request: HttpRequest, number: int) -> HttpResponse:
    """Start a schedule now."""
    schedule = _schedule(request, number)
    try:
        job = verbs.schedule_run(schedule, actor=request.user)
    except PanelError as error:
        messages.error(request, str(error))
    else:
        messages.info(request, f"“{job.name}” starts.")
    return redirect("backups:schedule_list")


@require_POST
def schedule_run_all(request: HttpRequest) -> HttpResponse:
    """Start all enabled schedules."""
    jobs = verbs.schedule_run_all(request.user)
    messages.info(request, f"{len(jobs)} schedules start." if len(jobs) != 1 else "1 schedule starts.")
    return redirect("backups:schedule_list")


@require_POST
def schedule_toggle(request: HttpRequest, number: int) -> HttpResponse:
    """Switch a schedule on or off."""
    schedule = _schedule(request, number)
    enabled = verbs.schedule_toggle(schedule, actor=request.user)
    messages.info(request, f"“{schedule.name}” is {'on' if enabled else 'disabled'}.")
    return redirect("backups:schedule_list")


@require_POST
def schedule_delete(request: HttpRequest, number: int) -> HttpResponse:
    """Delete a schedule; its snapshots stay."""
    schedule = _schedule(request, number)
    verbs.schedule_delete(schedule, actor=request.user)
    messages.info(request, f"“{schedule.name}” is deleted. Its snapshots stay.")
    return redirect("backups:schedule_list")


def _schedule(request: HttpRequest, number: int) -> Schedule:
    return get_object_or_404(Schedule.objects.visible_to(request.user).present(), pk=number)


def _data(form: ScheduleForm) -> verbs.ScheduleData:
    data = form.cleaned_data
    account = data["account"] if data["mode"] == "account" else None
    server = account.server if account else Server.objects.order_by("pk").first()
    if server is None:
        raise Http404
    return verbs.ScheduleData(server, account, list(data["destinations"]), form.values())


def _page(request: HttpRequest, form: ScheduleForm, schedule: Schedule | None) -> HttpResponse:
    source = request.POST if request.method == "POST" else {name: form[name].value() for name in form.fields}
    context = {"form": form, "schedule": schedule, "preview": _preview(source)}
    return render(request, "backups/schedule_form.html", context, status=422 if form.errors else 200)


def _preview(given: Any) -> dict[str, Any]:
    try:
        numbers = {
            name: int(given.get(name) or default)
            for name, default in (("hour", 0), ("minute", 0), ("weekday", 0), ("day", 1))
        }
        timing = Timing(frequency=given.get("frequency") or "daily", zone=given.get("zone") or "UTC", **numbers)
        runs = next_runs(timing, timezone.now())
    except (ValueError, KeyError, OSError):
        return {"error": "This timing is not possible; check the hour and the time zone."}
    zone = ZoneInfo(timing.zone)
    shown = [(f"{run.astimezone(zone):%a, %b %d, %H:%M}", f"{run.astimezone(UTC):%H:%M} UTC") for run in runs]
    return {"sentence": sentence(timing), "zone": timing.zone, "runs": shown}

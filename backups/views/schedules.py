"""Backups → Schedules."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth import authenticate
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from backups.forms import ScheduleForm, initial_of, usable_destinations, zone_names
from backups.models import Schedule, SnapshotKind
from backups.selectors import SchedulePage, schedules_page, unsaved_keys
from backups.services import schedules as verbs
from backups.services.own_storage import own_storage_of
from backups.views.previews import previews
from destinations.models import DestinationKind
from destinations.services import destination_test, test_is_running
from panel.accounts.models import Account, Server
from panel.core.errors import PanelError
from panel.options.selectors import number as option_number
from panel.options.selectors import option

PRESET_RULES = {"keep_last": 3, "keep_daily": 7, "keep_weekly": 4, "keep_monthly": 6}
_SUGGESTIONS, _DIGITS = 20, 12


def schedule_list(request: HttpRequest) -> HttpResponse:
    """List the schedules a viewer sees."""
    query, after = request.GET.get("q", "").strip()[:60], request.GET.get("after", "")
    page = schedules_page(
        request.user,
        query=query,
        after=int(after) if after.isdecimal() and len(after) < 12 else 0,
        twelve=_twelve(request),
    )
    context = {"page": page, "unsaved": unsaved_keys(request.user), "query": query, "more": _more(page, query)}
    part = "#rows" if request.headers.get("HX-Target") == "rows" else ""
    return render(request, f"backups/schedule_list.html{part}", context)


def schedule_create(request: HttpRequest) -> HttpResponse:
    """Show the form, or make a schedule."""
    form = ScheduleForm(request.POST or None, viewer=request.user, initial=_initial(request), twelve=_twelve(request))
    if request.method == "POST" and form.is_valid():
        try:
            schedule = verbs.schedule_create(_data(form), actor=request.user)
        except PanelError as error:
            _blame(form, error)
        else:
            if request.POST.get("run"):
                _run_first(request, schedule)
            messages.success(request, f"“{schedule.name}” is made. Save its key outside this server.")
            return _after_save(request, schedule)
    return _page(request, form, None)


def schedule_update(request: HttpRequest, number: int) -> HttpResponse:
    """Show the form of a schedule, or change it."""
    schedule = _schedule(request, number)
    form = ScheduleForm(
        request.POST or None,
        viewer=request.user,
        initial=PRESET_RULES | initial_of(schedule) if set(schedule.retention) <= {"last"} else initial_of(schedule),
        schedule=schedule,
        twelve=_twelve(request),
    )
    if request.method == "POST" and form.is_valid():
        try:
            verbs.schedule_update(schedule, _data(form), actor=request.user)
        except PanelError as error:
            _blame(form, error)
        else:
            messages.success(request, f"“{schedule.name}” is saved.")
            return _after_save(request, schedule)
    return _page(request, form, schedule)


def timing_preview(request: HttpRequest) -> HttpResponse:
    """Show the sentence, the next five runs and what would be kept, while the form is filled in."""
    given: Any = request.POST or request.GET
    number = given.get("schedule", "")
    schedule = None
    if number.isdecimal():
        schedule = Schedule.objects.visible_to(request.user).present().filter(pk=int(number)).first()
    seen = previews(
        given, viewer=request.user, schedule=schedule, twelve=_twelve(request), all_lines=bool(given.get("all_lines"))
    )
    return render(request, "backups/schedule_form.html#previews", {"preview": seen, "schedule": schedule, "oob": True})


@require_POST
def schedule_run(request: HttpRequest, number: int) -> HttpResponse:
    """Start a schedule now, enabled or not."""
    _run(request, _schedule(request, number))
    return _back(request)


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
    undo = f"undo:{reverse('backups:schedule_toggle', args=[number])}"
    words = "is on" if enabled else "is disabled. Run now still works"
    messages.info(request, f"“{schedule.name}” {words}.", extra_tags=undo)
    return _back(request)


def schedule_delete(request: HttpRequest, number: int) -> HttpResponse:
    """Ask what happens to the snapshots; then delete the schedule, with them or without."""
    schedule = _schedule(request, number)
    own = schedule.snapshots.filter(removed_at=None).exclude(kind=SnapshotKind.SAFETY)
    context = {"schedule": schedule, "many": own.count(), "locked": own.exclude(locked_until=None).count()}
    if request.method != "POST":
        return render(request, "backups/schedule_delete.html", context)
    if request.POST.get("snapshots") == "delete":
        wrong = _wrong_for_deleting(request, schedule)
        if wrong:
            context |= {"wrong": wrong, "with_snapshots": True}
            return render(request, "backups/schedule_delete.html", context, status=422)
        marked = verbs.schedule_delete(schedule, actor=request.user, with_snapshots=True)
        text = f"“{schedule.name}” is deleted. {marked:,} snapshots go with the cleanup after the hold time."
        messages.warning(request, text, extra_tags=_undo(schedule))
        return redirect("backups:schedule_list")
    verbs.schedule_delete(schedule, actor=request.user)
    messages.info(request, f"“{schedule.name}” is deleted. Its snapshots stay.", extra_tags=_undo(schedule))
    return redirect("backups:schedule_list")


@require_POST
def schedule_undelete(request: HttpRequest, number: int) -> HttpResponse:
    """Bring a deleted schedule back, with the snapshots that went with it; nothing happens to one that is there.

    With ``?on`` it is switched on again, as it was.
    """
    schedule = get_object_or_404(Schedule.objects.visible_to(request.user), pk=number)
    if schedule.deleted_at is None:
        return redirect("backups:schedule_list")
    back = verbs.schedule_undelete(schedule, actor=request.user)
    on = "on" in request.GET and verbs.schedule_toggle(schedule, actor=request.user)
    more = f" {back:,} snapshots stay after all." if back else ""
    messages.success(request, f"“{schedule.name}” is back{'' if on else ', disabled'}.{more}")
    return redirect("backups:schedule_list")


def _wrong_for_deleting(request: HttpRequest, schedule: Schedule) -> str:
    """Return which field of the form that deletes snapshots is wrong: ``typed``, ``password``, or none."""
    if request.POST.get("typed", "").strip() != schedule.name:
        return "typed"
    right = authenticate(request, username=request.user.get_username(), password=request.POST.get("password", ""))
    return "" if right is not None and right.pk == request.user.pk else "password"


def _undo(schedule: Schedule) -> str:
    was = "?on" if schedule.is_enabled else ""
    return f"undo:{reverse('backups:schedule_undelete', args=[schedule.pk])}{was}"


def _run(request: HttpRequest, schedule: Schedule) -> None:
    try:
        job = verbs.schedule_run(schedule, actor=request.user)
    except PanelError as error:
        messages.error(request, str(error))
    else:
        messages.info(request, f"“{job.name}” starts.")


def _run_first(request: HttpRequest, schedule: Schedule) -> None:
    """Start a new schedule, unless it goes to a server whose identity nobody has confirmed yet."""
    own = own_storage_of(schedule)
    if own is not None and own.kind == DestinationKind.SFTP:
        messages.info(request, "Confirm the server's identity, which its test shows; then press Run now.")
    else:
        _run(request, schedule)


def _back(request: HttpRequest) -> HttpResponse:
    target = request.POST.get("next", "")
    ours = target.startswith("/") and url_has_allowed_host_and_scheme(target, {request.get_host()})
    return redirect(target if ours else "backups:schedule_list")


def _schedule(request: HttpRequest, number: int) -> Schedule:
    rows = Schedule.objects.visible_to(request.user).present().select_related("account", "server")
    return get_object_or_404(rows, pk=number)


def _initial(request: HttpRequest) -> dict[str, Any]:
    first: Any = PRESET_RULES | {"keep": option_number("default_retention"), "zone": request.user.zone}
    wanted = request.GET.get("account", "")
    if wanted and Account.objects.visible_to(request.user).filter(uid=wanted).exists():
        first |= {"account": wanted, "mode": "account"}
    own = Account.objects.visible_to(request.user).living()[:2]
    if not request.user.is_admin and len(own) == 1:
        first["account"] = own[0].uid
    place = request.GET.get("destination", "")
    if place.isdecimal() and len(place) < _DIGITS:
        chosen = usable_destinations(request.user).filter(pk=int(place)).select_related("account").first()
        if chosen is not None:
            first["destinations"] = [chosen.pk]
            first |= {"account": chosen.account.uid, "mode": "account"} if chosen.account else {}
    return first


def _data(form: ScheduleForm) -> verbs.ScheduleData:
    data = form.cleaned_data
    account = data["account"] if data["mode"] == "account" else None
    server = account.server if account else Server.objects.order_by("pk").first()
    if server is None:
        raise Http404
    return verbs.ScheduleData(server, account, list(data["destinations"]), form.values(), form.storage())


def _blame(form: ScheduleForm, error: PanelError) -> None:
    """Show an error at its field, if it has one."""
    name = getattr(error, "field", None)
    if form.own is not None and name in form.own.fields:
        form.own.add_error(name, str(error))
    else:
        form.add_error(None, str(error))


def _after_save(request: HttpRequest, schedule: Schedule) -> HttpResponse:
    """Test storage of its own that is new or changed, and show the test; else show the schedules."""
    own = own_storage_of(schedule)
    if own is None or own.tested_at is not None or test_is_running(own):
        return redirect("backups:schedule_list")
    try:
        destination_test(own, actor=request.user)
    except PanelError as error:
        messages.error(request, str(error))
    return redirect("destinations:destination_update", own.pk)


def _page(request: HttpRequest, form: ScheduleForm, schedule: Schedule | None) -> HttpResponse:
    given: Any = request.POST
    if request.method != "POST":
        given = {name: form[name].value() for name in form.fields}
        given |= {"own-kind": form.own_storage.kind if form.own_storage else ""}
    context = {
        "form": form,
        "schedule": schedule,
        "zones": zone_names(),
        "preview": previews(given, viewer=request.user, schedule=schedule, twelve=_twelve(request)),
    }
    return render(request, "backups/schedule_form.html", context, status=422 if form.is_wrong else 200)


def _more(page: SchedulePage, query: str) -> str:
    return urlencode({"q": query, "after": page.next_after}) if page.next_after else ""


def _twelve(request: HttpRequest) -> bool:
    viewer: Any = request.user
    return bool(viewer.reads_twelve(option("time_format")))

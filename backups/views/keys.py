"""The key of a schedule: shown or downloaded after the password, rotated, tried, replaced.  Nothing is opened here."""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib import messages
from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import patch_vary_headers

from backups.keys import clean_key, sealer
from backups.models import Schedule
from backups.places import answer_place, password_place, pasted_place
from backups.services.keys import key_rotate, key_saved
from panel.core.errors import PanelError, WrongPassword
from panel.core.sealing import MasterKey
from worker.asking import ask
from worker.models import Job
from worker.states import LIVE

_PAGE = "backups/schedule_key.html"
_TRIAL_WAIT = 35


def schedule_key(request: HttpRequest, number: int) -> HttpResponse:
    """Ask for the password; then show the key, hand out its file, or note that it was saved."""
    schedule = _schedule(request, number)
    if request.method != "POST":
        return _page(request, schedule)
    if request.POST.get("what") == "saved":
        key_saved(schedule, actor=request.user)
        messages.success(request, f"The key of “{schedule.name}” counts as saved.")
        return _done(request)
    try:
        key = _reveal(request, schedule)
    except PanelError as error:
        return _page(request, schedule, error=error)
    if request.POST.get("what") != "download":
        return _page(request, schedule, key=key)
    key_saved(schedule, actor=request.user)
    response = HttpResponse(key + "\n", content_type="text/plain")
    response["Content-Disposition"] = f'attachment; filename="holdfast-backup-key-{schedule.pk}.txt"'
    response["Cache-Control"] = "no-store"
    return response


def schedule_key_rotate(request: HttpRequest, number: int) -> HttpResponse:
    """Say what rotating means; after the password, ask the workers for a new key."""
    schedule = _schedule(request, number)
    if request.method != "POST":
        return _page(request, schedule, step="rotate")
    try:
        if authenticate(request, username=request.user.username, password=request.POST.get("password", "")) is None:
            raise WrongPassword
        key_rotate(schedule, actor=request.user)
    except PanelError as error:
        return _page(request, schedule, step="rotate", error=error)
    messages.info(request, f"The key of “{schedule.name}” is being rotated. Save the new one when it is there.")
    return _done(request)


def schedule_key_try(request: HttpRequest, number: int) -> HttpResponse:
    """Take a key from a file and show step by step what it opens; nothing changes."""
    schedule = _schedule(request, number)
    if request.method != "POST":
        return _page(request, schedule, step="replace")
    try:
        sealed = sealer().seal(pasted_place(schedule.pk), clean_key(request.POST.get("pasted", "")))
        answer = _ask(request, "key_try", schedule, pasted=sealed, wait=_TRIAL_WAIT)
    except PanelError as error:
        return _page(request, schedule, step="replace", error=error)
    lost = sum(trial["unreadable"] for trial in answer["trials"])
    return _page(request, schedule, step="replace", trial=answer, sealed=sealed, lost=lost)


def schedule_key_use(request: HttpRequest, number: int) -> HttpResponse:
    """Use a key that was tried: beside the present one, or instead of it."""
    schedule = _schedule(request, number)
    if request.method != "POST":
        return redirect("backups:schedule_key_try", number)
    sealed, how = request.POST.get("sealed", ""), request.POST.get("how", "add")
    try:
        _ask(request, "key_use", schedule, pasted=sealed, how=how, wait=_TRIAL_WAIT, **_password(request))
    except PanelError as error:
        return _page(request, schedule, step="replace", error=error)
    messages.success(request, "The key is in use. What it opens is being listed; the banner shows how far it is.")
    return _done(request)


def _schedule(request: HttpRequest, number: int) -> Schedule:
    return get_object_or_404(Schedule.objects.visible_to(request.user).present(), pk=number)


def _page(request: HttpRequest, schedule: Schedule, *, step: str = "key", **more: Any) -> HttpResponse:
    """Show a step, as a page or as the dialog's inside."""
    context = {
        "schedule": schedule,
        "step": step,
        "old_keys": schedule.old_keys.filter(removed_at=None),
        "changing": Job.objects.filter(subject=f"key:{schedule.pk}", state__in=LIVE).first(),
        **more,
    }
    part = f"{_PAGE}#dialog" if request.headers.get("HX-Request") else _PAGE
    response = render(request, part, context, status=422 if more.get("error") else 200)
    response["Cache-Control"] = "no-store"
    patch_vary_headers(response, ["HX-Request"])
    return response


def _done(request: HttpRequest) -> HttpResponse:
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Refresh": "true"})
    return redirect("backups:schedule_list")


def _reveal(request: HttpRequest, schedule: Schedule) -> str:
    once = MasterKey.generate()
    answer = _ask(request, "key", schedule, public_key=once.public_text(), **_password(request))
    return once.open(answer_place(schedule.pk), answer["key"])


def _password(request: HttpRequest) -> dict[str, str]:
    name = secrets.token_urlsafe(12)
    return {"request": name, "password": sealer().seal(password_place(name), request.POST.get("password", ""))}


def _ask(request: HttpRequest, verb: str, schedule: Schedule, /, **fields: Any) -> dict[str, Any]:
    return ask(
        verb,
        user=request.user,
        session_key=request.session.session_key,
        schedule=schedule.pk,
        address=request.META.get("REMOTE_ADDR"),
        **fields,
    )

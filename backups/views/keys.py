"""The key of a schedule: shown or downloaded after the password was entered again."""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from backups.keys import sealer
from backups.models import Schedule
from backups.places import answer_place, password_place
from panel.audit.services import record
from panel.core.errors import PanelError
from panel.core.sealing import MasterKey
from worker.asking import ask
from worker.clock import now


def schedule_key(request: HttpRequest, number: int) -> HttpResponse:
    """Ask for the password; then show the key, hand out its file, or note that it was saved."""
    schedule = get_object_or_404(Schedule.objects.visible_to(request.user).present(), pk=number)
    context: dict[str, Any] = {"schedule": schedule}
    if request.method != "POST":
        return render(request, "backups/schedule_key.html", context)
    if request.POST.get("what") == "saved":
        _saved(schedule, request)
        messages.success(request, f"The key of “{schedule.name}” counts as saved.")
        return redirect("backups:schedule_list")
    try:
        key = _reveal(request, schedule)
    except PanelError as error:
        return render(request, "backups/schedule_key.html", context | {"error": error}, status=422)
    if request.POST.get("what") == "download":
        _saved(schedule, request)
        response = HttpResponse(key + "\n", content_type="text/plain")
        response["Content-Disposition"] = f'attachment; filename="holdfast-backup-key-{schedule.pk}.txt"'
    else:
        response = render(request, "backups/schedule_key.html", context | {"key": key})
    response["Cache-Control"] = "no-store"
    return response


def _reveal(request: HttpRequest, schedule: Schedule) -> str:
    name = secrets.token_urlsafe(12)
    once = MasterKey.generate()
    answer = ask(
        "key",
        user=request.user,
        session_key=request.session.session_key,
        schedule=schedule.pk,
        request=name,
        password=sealer().seal(password_place(name), request.POST.get("password", "")),
        public_key=once.public_text(),
        address=request.META.get("REMOTE_ADDR"),
    )
    return once.open(answer_place(schedule.pk), answer["key"])


def _saved(schedule: Schedule, request: HttpRequest) -> None:
    Schedule.objects.filter(pk=schedule.pk).update(key_saved_at=now())
    record("key.saved", actor=request.user, subject=f"schedule:{schedule.pk}")

"""Planning and starting a restore."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from backups.selectors import snapshots_visible
from panel.core.errors import PanelError
from panel.options.selectors import option
from restores.models import Overwrite, Restore
from restores.services import RestoreRequest, checked_path, restore_request, restore_undo


def restore_new(request: HttpRequest, number: int) -> HttpResponse:
    """Show what is restored, where to and how, and start it."""
    snapshot = get_object_or_404(snapshots_visible(request.user), pk=number)
    given = request.POST if request.method == "POST" else request.GET
    paths = [path for path in given.getlist("path") if path]
    context: dict[str, Any] = {
        "snapshot": snapshot, "paths": paths, "overwrites": Overwrite.choices, "safety": option("safety_snapshot"),
        "target": given.get("target", Restore.Target.IN_PLACE),
        "overwrite": given.get("overwrite", Overwrite.IF_DIFFERENT),
    }  # fmt: skip
    try:
        if snapshot.account is not None:
            context["paths"] = [checked_path(path, snapshot.account.home) for path in paths]
        if request.method != "POST":
            return render(request, "restores/restore_new.html", context)
        restore = restore_request(_wanted(request, snapshot, paths), actor=request.user)
    except PanelError as error:
        return render(request, "restores/restore_new.html", context | {"error": error}, status=422)
    messages.info(request, "The restore starts. You can leave this page.")
    return redirect("worker:job_detail", restore.job_id)


@require_POST
def restore_back(request: HttpRequest, number: int) -> HttpResponse:
    """Undo a restore."""
    restore = get_object_or_404(Restore.objects.visible_to(request.user), pk=number)
    try:
        undo = restore_undo(restore, actor=request.user)
    except PanelError as error:
        messages.error(request, str(error))
        return redirect("worker:job_detail", restore.job_id)
    messages.info(request, "The undo starts.")
    return redirect("worker:job_detail", undo.job_id)


def _wanted(request: HttpRequest, snapshot: Any, paths: list[str]) -> RestoreRequest:
    return RestoreRequest(
        snapshot,
        paths,
        target=request.POST.get("target", ""),
        overwrite=request.POST.get("overwrite", ""),
        safety=bool(request.POST.get("safety")),
    )

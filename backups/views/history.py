"""Backups → History."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from panel.audit.services import record
from panel.options.selectors import number as option_number
from worker.clock import now
from worker.models import Job
from worker.states import ENDED, Kind, State


def history(request: HttpRequest) -> HttpResponse:
    """List jobs, newest first, filtered by kind and result."""
    jobs: Any = Job.objects.visible_to(request.user).select_related("account")
    chosen = {"kind": request.GET.get("kind", ""), "state": request.GET.get("state", "")}
    if chosen["kind"] in Kind.values:
        jobs = jobs.filter(kind=chosen["kind"])
    if chosen["state"] in State.values:
        jobs = jobs.filter(state=chosen["state"])
    page = Paginator(jobs.order_by("-id"), 50).get_page(request.GET.get("page"))
    for job in page:
        job.shown = job.snapshots.all()[:1]
    context = {
        "page": page,
        "kinds": Kind.choices,
        "states": State.choices,
        "chosen": chosen,
        "days": option_number("history_days"),
    }
    part = "backups/history.html#rows" if request.headers.get("HX-Target") == "rows" else "backups/history.html"
    return render(request, part, context)


@require_POST
def history_clear(request: HttpRequest) -> HttpResponse:
    """Remove ended jobs older than the setting; restores that can be undone stay."""
    if not request.user.is_admin:
        raise Http404
    edge = now() - timedelta(days=option_number("history_days"))
    old = Job.objects.filter(state__in=ENDED, finished_at__lt=edge, restore=None, download=None)
    count = old.count()
    old.delete()
    record("history.cleared", actor=request.user, entries=count)
    messages.info(request, f"{count:,} old entries are deleted.")
    return redirect("backups:history")

"""The banner, a job's page, and the queue."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_POST

from panel.options.selectors import options
from worker.beats import QUIET, SCHEDULER, last_beat
from worker.causes import cause
from worker.finish import job_cancel
from worker.models import Job, JobItem
from worker.selectors import (
    active_jobs,
    headline,
    items_by_state,
    items_visible,
    log_after,
    log_end,
    plain_error,
    shown_line,
    statistics,
    time_left,
)
from worker.states import Slot, State

SHOWN, ITEMS, SNAPSHOTS = 2, 50, 20
_QUEUE = 40
"""Items of each state that the Queue page lists."""
_TOKEN = re.compile(rb'name="csrfmiddlewaretoken" value="[^"]*"')


def banner_context(viewer: Any) -> dict[str, Any]:
    """Return what the banner shows."""
    jobs = active_jobs(viewer)
    running = [job for job in jobs if job.state == State.RUNNING]
    waiting = [job for job in jobs if job.state == State.PENDING]
    seen = last_beat(SCHEDULER)
    quiet = seen is None or timezone.now() - seen.seen_at > QUIET
    states = hashlib.sha256(repr([(job.pk, job.state) for job in jobs]).encode()).hexdigest()[:12]
    return {
        "running": running[:SHOWN],
        "running_many": len(running),
        "more": max(0, len(running) - SHOWN),
        "waiting": waiting,
        "live": len(jobs),
        "beat": seen,
        "beat_quiet": quiet,
        "states": states,
        "is_admin": viewer.is_admin,
    }


def active_tasks(request: HttpRequest) -> HttpResponse:
    """Answer the banner's question; 204 when nothing changed since the last one."""
    context = banner_context(request.user)
    response = render(request, "worker/active_tasks.html", context)
    mark = hashlib.sha256(_TOKEN.sub(b"", response.content)).hexdigest()[:16]
    if request.GET.get("have") == mark:
        return HttpResponse(status=204)
    if request.GET.get("states") not in (None, context["states"]):
        response["HX-Trigger"] = "tasks-changed"
    response["X-Mark"] = mark
    return response


def job_detail(request: HttpRequest, number: int) -> HttpResponse:
    """Show a job: facts, items, log; as a page, inside the drawer, or only what is new since line ``after``."""
    job = get_object_or_404(Job.objects.visible_to(request.user).select_related("account", "requested_by"), pk=number)
    after = request.GET.get("after", "")
    if after.isdecimal() and len(after) < 19:
        context = _facts(request, job) | {
            "lines": _lines(log_after(job, int(after)), request.user),
            "after": int(after),
        }
        return render(request, "worker/job_detail.html#news", context | _end(context["lines"], int(after)))
    found, total = log_end(job)
    lines = _lines(found, request.user)
    context = _facts(request, job) | {"lines": lines, "total": total, "earlier": total - len(lines)} | _end(lines, 0)
    part = "worker/job_detail.html#body" if request.headers.get("HX-Request") else "worker/job_detail.html"
    response = render(request, part, context)
    patch_vary_headers(response, ["HX-Request"])
    return response


def _facts(request: HttpRequest, job: Job) -> dict[str, Any]:
    """Return what is shown of a job besides its log."""
    restore = getattr(job, "restore", None) if job.kind == "restore" else None
    can_undo = restore is not None and restore.may_be_undone
    items = Paginator(items_visible(job, request.user), ITEMS).get_page(request.GET.get("items"))
    admin = request.user.is_admin  # type: ignore[union-attr]
    return {
        "job": job,
        "items": items,
        "states": items_by_state(job) if admin or job.account_id else [],
        "restore": restore,
        "snapshots": list(job.snapshots.select_related("account")[:SNAPSHOTS]),
        "snapshots_many": job.snapshots.count(),
        "can_undo": can_undo,
        "cause": cause(job.error_code) if job.error_code else "",
        "happened": job.error if admin else plain_error(job),
        "headline": headline(job) if job.error else "",
        "statistics": [] if job.is_live else statistics(job, request.user),
        "left": time_left(job),
    }


def _lines(found: Any, viewer: Any) -> list[Any]:
    lines = list(found)
    for line in lines:
        line.shown = shown_line(line.text, viewer)
    return lines


def _end(lines: list[Any], after: int) -> dict[str, int]:
    return {"last_line": lines[-1].pk if lines else after}


def job_log(request: HttpRequest, number: int) -> HttpResponse:
    """Return the whole log of a job as a text file."""
    job = get_object_or_404(Job.objects.visible_to(request.user), pk=number)
    lines = (
        f"{line.at:%Y-%m-%d %H:%M:%S}Z {line.item.label + ' ' if line.item else ''}"
        f"{shown_line(line.text, request.user)}\n"
        for line in job.log.select_related("item").iterator(2000)
    )
    ending = (f"{name}: {value}\n" for name, value in statistics(job, request.user))
    response = HttpResponse("".join([*lines, *ending]), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="holdfast-log-{job.pk}.txt"'
    return response


@require_POST
def job_stop(request: HttpRequest, number: int) -> HttpResponse:
    """Ask a job to stop."""
    job = get_object_or_404(Job.objects.visible_to(request.user), pk=number)
    stops = job_cancel(job, by=request.user.username)
    if request.headers.get("HX-Request"):
        return active_tasks(request)
    if stops:
        messages.info(request, f"“{job.name}” stops.")
    return redirect("worker:job_detail", job.pk)


def queue(request: HttpRequest) -> HttpResponse:
    """List what runs and waits, with the reason; administrators only."""
    if not request.user.is_admin:
        raise Http404
    running, waiting = (JobItem.objects.filter(state=state) for state in (State.RUNNING, State.PENDING))
    order = ("slot", "priority", "id")
    # Numbers first: whole rows of all that waits are much to sort.
    first = [pk for rows in (running, waiting) for pk in rows.order_by(*order).values_list("pk", flat=True)[:_QUEUE]]
    shown = JobItem.objects.filter(pk__in=first).select_related("job", "account__priority")
    items = list(shown.order_by("-state", *order))
    used = dict(JobItem.objects.filter(state=State.RUNNING).order_by().values_list("slot").annotate(Count("pk")))
    limits = options(*[slot.label for slot in Slot])
    names = {
        Slot.BACKUP: ("backup", "Backups"),
        Slot.RESTORE: ("restore", "Restores, downloads, reindexes"),
        Slot.SYSTEM: ("check", "System tasks"),
    }
    slots = [
        {
            "kind": names[slot][0],
            "name": names[slot][1],
            "limit": limits[slot.label],
            "used": used.get(slot, 0),
        }
        for slot in (Slot.BACKUP, Slot.RESTORE, Slot.SYSTEM)
    ]
    part = "worker/queue.html#rows" if request.headers.get("HX-Target") == "rows" else "worker/queue.html"
    more = sum(used.values()) + waiting.count() - len(items)
    return render(request, part, {"items": items, "slots": slots, "more": more})

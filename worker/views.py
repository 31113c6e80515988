"""The banner, a job's page, and the queue."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from panel.options.selectors import options
from worker.beats import QUIET, SCHEDULER, last_beat
from worker.finish import job_cancel
from worker.models import Job, JobItem
from worker.selectors import active_jobs, items_visible, log_after
from worker.states import LIVE, Slot, State


def banner_context(viewer: Any) -> dict[str, Any]:
    """Return what the banner shows."""
    jobs = active_jobs(viewer)
    running = [job for job in jobs if job.state == State.RUNNING]
    waiting = [job for job in jobs if job.state == State.PENDING]
    seen = last_beat(SCHEDULER)
    quiet = seen is None or timezone.now() - seen.seen_at > QUIET
    states = hashlib.sha256(repr([(job.pk, job.state) for job in jobs]).encode()).hexdigest()[:12]
    return {
        "running": running[:2],
        "more": max(0, len(running) - 2),
        "waiting": waiting,
        "beat": seen,
        "beat_quiet": quiet,
        "states": states,
        "is_admin": viewer.is_admin,
    }


def active_tasks(request: HttpRequest) -> HttpResponse:
    """Answer the banner's question; 204 when nothing changed since the last one."""
    context = banner_context(request.user)
    response = render(request, "worker/active_tasks.html", context)
    mark = hashlib.sha256(response.content).hexdigest()[:16]
    if request.GET.get("have") == mark:
        return HttpResponse(status=204)
    if request.GET.get("states") not in (None, context["states"]):
        response["HX-Trigger"] = "tasks-changed"
    response["X-Mark"] = mark
    return response


def job_detail(request: HttpRequest, number: int) -> HttpResponse:
    """Show a job: facts, items, log; as a page, or as the part that is polled."""
    job = get_object_or_404(Job.objects.visible_to(request.user).select_related("account", "requested_by"), pk=number)
    restore = getattr(job, "restore", None) if job.kind == "restore" else None
    snapshots = list(job.snapshots.select_related("account")[:20])
    can_undo = bool(
        restore
        and restore.safety_id
        and not job.is_live
        and not hasattr(restore, "undone_by")
        and restore.safety.removed_at is None
    )
    context = {
        "job": job,
        "items": items_visible(job, request.user)[:200],
        "log": log_after(job, 0),
        "restore": restore,
        "snapshots": snapshots,
        "can_undo": can_undo,
    }
    part = "worker/job_detail.html#body" if request.headers.get("HX-Request") else "worker/job_detail.html"
    return render(request, part, context)


def job_log(request: HttpRequest, number: int) -> HttpResponse:
    """Return the whole log of a job as a text file."""
    job = get_object_or_404(Job.objects.visible_to(request.user), pk=number)
    lines = (
        f"{line.at:%Y-%m-%d %H:%M:%S} {line.item.label + ' ' if line.item else ''}{line.text}\n"
        for line in log_after(job, 0)
    )
    response = HttpResponse("".join(lines), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="holdfast-log-{job.pk}.txt"'
    return response


@require_POST
def job_stop(request: HttpRequest, number: int) -> HttpResponse:
    """Ask a job to stop."""
    job = get_object_or_404(Job.objects.visible_to(request.user), pk=number)
    if job_cancel(job, by=request.user.username):
        messages.info(request, f"“{job.name}” stops.")
    if request.headers.get("HX-Request"):
        return active_tasks(request)
    return redirect("worker:job_detail", job.pk)


def queue(request: HttpRequest) -> HttpResponse:
    """List what runs and waits, with the reason; administrators only."""
    if not request.user.is_admin:
        raise Http404
    items = list(
        JobItem.objects.filter(state__in=LIVE, job__state__in=LIVE)
        .select_related("job", "account__priority")
        .order_by("-state", "slot", "priority", "id")[:200]
    )
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
            "used": sum(i.slot == slot and i.state == State.RUNNING for i in items),
        }
        for slot in (Slot.BACKUP, Slot.RESTORE, Slot.SYSTEM)
    ]
    part = "worker/queue.html#rows" if request.headers.get("HX-Target") == "rows" else "worker/queue.html"
    return render(request, part, {"items": items, "slots": slots})

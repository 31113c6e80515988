"""The pages that look into every app: overview, system, health, and the theme."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from backups.models import Schedule
from backups.selectors import heat_map, safety_of, snapshots_visible
from destinations.models import Destination
from worker.asking import client
from worker.models import Beat, Job
from worker.states import State

_WEEKS = 18


def overview(request: HttpRequest) -> HttpResponse:
    """Answer one question: am I safe?"""
    now = timezone.now()
    user: Any = request.user
    safety = safety_of(user, now)
    context: dict[str, Any] = safety | {
        "today": now,
        "heat": _weeks(heat_map(user, now), now),
        "next_runs": Schedule.objects.visible_to(user).present().filter(is_enabled=True).order_by("next_run_at")[:6],
        "destinations": Destination.objects.visible_to(user)[:6],
        "snapshots": snapshots_visible(user)[:6],
        "points": snapshots_visible(user).count(),
        "lately": Job.objects.visible_to(user).order_by("-id")[:6],
        "failed": Job.objects.visible_to(user).filter(
            state__in=(State.FAILED, State.PARTIAL), finished_at__gte=now - timedelta(days=1)
        )[:6],
        "overdue": Schedule.objects.visible_to(user).present().exclude(overdue_since=None),
        "unsaved": Schedule.objects.visible_to(user).present().filter(key_saved_at=None)[:1],
        "waiting": [account for account in safety["accounts"] if not account.is_safe][:8],
    }
    return render(request, "panel/overview.html", context)


def system(request: HttpRequest) -> HttpResponse:
    """Show the parts of the installation and whether they live."""
    if not request.user.is_admin:
        raise Http404
    context = {
        "beats": Beat.objects.order_by("name"),
        "database": connection.vendor,
        "broker": _broker(),
        "embedded": settings.EMBEDDED_BROKER,
        "data_dir": settings.DATA_DIR,
        "apart": not os.access(settings.MASTER_KEY_FILE, os.R_OK),
    }
    return render(request, "panel/system.html", context)


def health(_request: HttpRequest) -> HttpResponse:
    """Answer 200 if the database does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("ok\n", content_type="text/plain")


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Choose light, dark, or what the system says."""
    chosen = request.POST.get("theme", "")
    target = request.POST.get("next", "/")
    if not url_has_allowed_host_and_scheme(target, {request.get_host()}):
        target = "/"
    response = redirect(target)
    response.set_cookie(
        "holdfast_theme",
        chosen if chosen in ("light", "dark") else "",
        max_age=365 * 86400,
        samesite="Lax",
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
    )
    return response


def _broker() -> str:
    try:
        info: Any = client().info("server")
    except redis.RedisError:
        return ""
    return str(info.get("valkey_version") or info.get("redis_version") or "")


def _weeks(days: dict[str, str], now: Any) -> list[list[dict[str, Any]]]:
    words = {
        "success": "all good",
        "warning": "with warnings",
        "partial": "partly done",
        "failed": "something failed",
        "aborted": "stopped",
        "skipped": "skipped",
        "": "nothing ran",
    }
    today = now.date()
    monday = today - timedelta(days=today.weekday()) - timedelta(weeks=_WEEKS - 1)
    rows: list[list[dict[str, Any]]] = []
    for weekday in range(7):
        row = []
        for week in range(_WEEKS):
            day = monday + timedelta(weeks=week, days=weekday)
            state = days.get(day.isoformat(), "")
            row.append(
                {
                    "state": state,
                    "text": f"{day:%a, %b} {day.day}: {words.get(state, state)}",
                    "today": day == today,
                    "future": day > today,
                }
            )
        rows.append(row)
    return rows

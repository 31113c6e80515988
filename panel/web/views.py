"""The pages that look into every app: overview, system, health, and the theme."""

from __future__ import annotations

import os
from typing import Any

import redis
from django.conf import settings
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from panel.web.overview import overview_context
from worker.asking import client
from worker.beats import SCHEDULER
from worker.doorbell import answering
from worker.models import Beat


def overview(request: HttpRequest) -> HttpResponse:
    """Answer one question: am I safe?"""
    return render(request, "panel/overview.html", overview_context(request.user, timezone.now()))


def system(request: HttpRequest) -> HttpResponse:
    """Show the parts of the installation and whether they live."""
    if not request.user.is_admin:
        raise Http404
    broker = _broker()
    context = {
        "beats": Beat.objects.filter(name__in=(SCHEDULER, "readers")).order_by("name"),
        "workers": answering(1.0, first=True) if broker else [],
        "database": connection.vendor,
        "broker": broker,
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

"""How many wrong passwords are too many, and what somebody sees then.

One name from one address has five tries in a quarter of an hour (django-axes); one address has fifty over all names,
so that trying one password on every name ends as well.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from panel.core.addresses import client_address

_PER_ADDRESS = 50


def refused(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
    """Answer 429 with the sign-in page."""
    return render(request, "accounts/sign_in.html", {"locked": True}, status=429)


def too_many(request: HttpRequest) -> bool:
    """Tell whether this address failed too often, whatever the names."""
    since = timezone.now() - timedelta(hours=settings.AXES_COOLOFF_TIME)
    recent = AccessAttempt.objects.filter(ip_address=client_address(request), attempt_time__gte=since)
    failures: int = recent.aggregate(sum=Sum("failures_since_start"))["sum"] or 0
    return failures >= _PER_ADDRESS


def tries_left(request: HttpRequest, name: str) -> int:
    """Return how many tries a name has left from this address; the same for names that nobody has."""
    failures = AccessAttempt.objects.filter(username=name, ip_address=client_address(request))
    worst = max((attempt.failures_since_start for attempt in failures), default=1)
    return max(0, int(settings.AXES_FAILURE_LIMIT) - worst)

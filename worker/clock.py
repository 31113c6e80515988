"""The worker's only clock, so that tests can move it."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone


def now() -> datetime:
    """Return the present moment, in UTC."""
    return timezone.now()

"""Signs of life."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from worker.clock import now
from worker.models import Beat

SCHEDULER = "scheduler"
QUIET = timedelta(seconds=60)


def beat(name: str, **detail: Any) -> None:
    """Say that ``name`` is alive."""
    if not Beat.objects.filter(pk=name).update(seen_at=now(), detail=detail):
        Beat.objects.update_or_create(pk=name, defaults={"seen_at": now(), "detail": detail})


def last_beat(name: str) -> Beat | None:
    """Return when ``name`` was last alive."""
    return Beat.objects.filter(pk=name).first()

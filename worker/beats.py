"""Signs of life."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from worker.clock import now
from worker.models import Beat

SCHEDULER = "scheduler"
QUIET = timedelta(seconds=60)
_SET_BACK = timedelta(minutes=1)


def beat(name: str, **detail: Any) -> None:
    """Say that ``name`` is alive."""
    if not Beat.objects.filter(pk=name).update(seen_at=now(), detail=detail):
        Beat.objects.update_or_create(pk=name, defaults={"seen_at": now(), "detail": detail})


def went_back(name: str, moment: datetime) -> bool:
    """Note ``moment`` under a name, and say whether the one noted before is more than a minute later.

    That is so after a clock that had run ahead was set right.
    """
    before = last_beat(name)
    Beat.objects.update_or_create(pk=name, defaults={"seen_at": moment})
    return before is not None and before.seen_at - moment > _SET_BACK


def last_beat(name: str) -> Beat | None:
    """Return when ``name`` was last alive."""
    return Beat.objects.filter(pk=name).first()

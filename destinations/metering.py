"""Adding up what went through to a destination, by day and by job."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.models import F

from destinations.models import DayTraffic, Destination, JobTraffic
from worker.clock import now


def traffic_add(destination_id: int, job_id: int | None, *, sent: int, received: int, requests: int) -> None:
    """Add to the traffic of a destination today, and to that of a job if there is one."""
    if not (sent or received or requests):
        return
    fields = {"sent": sent, "received": received, "requests": requests}
    _add(DayTraffic, {"destination_id": destination_id, "day": now().date()}, fields)
    if job_id is not None:
        _add(JobTraffic, {"destination_id": destination_id, "job_id": job_id}, fields)


def room_noted(destination_id: int, *, total: int, free: int) -> None:
    """Note how much room a destination has."""
    Destination.objects.filter(pk=destination_id).update(total_bytes=total, free_bytes=free, measured_at=now())


def gone_noted(destination_id: int, since: float | None) -> None:
    """Note since when (epoch seconds) the server of a destination does not answer; None = it is back."""
    rows = Destination.objects.filter(pk=destination_id)
    if since is None:
        rows.exclude(gone_since=None).update(gone_since=None)
    else:
        rows.filter(gone_since=None).update(gone_since=datetime.fromtimestamp(since, UTC))


def _add(model: Any, place: dict[str, Any], fields: dict[str, int]) -> None:
    more = {name: F(name) + value for name, value in fields.items()}
    if not model.objects.filter(**place).update(**more):
        model.objects.bulk_create([model(**place)], ignore_conflicts=True)
        model.objects.filter(**place).update(**more)

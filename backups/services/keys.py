"""Changing the keys of schedules.  Only asks: the keys themselves are made, opened and closed by workers."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Q

from backups.models import OldKey, Repository, Schedule, Snapshot
from backups.services.schedules import repository_for
from panel.audit.services import record
from panel.core.errors import Conflict
from worker.clock import now
from worker.enqueue import ItemRequest, JobRequest, job_enqueue
from worker.models import Job
from worker.states import LIVE, Kind


def key_saved(schedule: Schedule, *, actor: Any) -> None:
    """Note that somebody keeps the key outside the server."""
    Schedule.objects.filter(pk=schedule.pk).update(key_saved_at=now())
    record("key.saved", actor=actor, subject=f"schedule:{schedule.pk}", name=schedule.name)


def key_rotate(schedule: Schedule, *, actor: Any) -> Job:
    """Ask for a new key: it is added to every repository of the schedule, then the old one is removed.

    No data is encrypted again.  Conflict while the key changes already.
    """
    with transaction.atomic():
        job = _enqueue(schedule, actor, "Rotate the key of", {"step": "rotate"})
        record("key.rotated", actor=actor, subject=f"schedule:{schedule.pk}", name=schedule.name, job=job.pk)
    return job


def key_extend(schedule: Schedule, *, actor: Any) -> Job:
    """Ask that the schedule's key opens all its repositories, and that what is in them is listed.  Conflict."""
    return _enqueue(schedule, actor, "Read with the key of", {"step": "extend"})


def key_retire(schedule: Schedule, old: OldKey, *, actor: Any) -> Job:
    """Ask that a former key opens the schedule's repositories no more."""
    return _enqueue(schedule, actor, "Retire the old key of", {"step": "retire", "old": old.pk}, exclusive=True)


def repositories_of(schedule: Schedule) -> list[Repository]:
    """Return the repositories a schedule writes to or has written to; rows are made for its destinations."""
    own = [repository_for(destination, schedule).pk for destination in schedule.destinations.all()]
    written = Snapshot.objects.present().filter(schedule=schedule).values("repository")
    found = Repository.objects.filter(Q(pk__in=own) | Q(pk__in=written))
    return list(found.select_related("destination").order_by("pk"))


def _enqueue(schedule: Schedule, actor: Any, words: str, spec: dict[str, Any], *, exclusive: bool = False) -> Job:
    subject = f"key:{schedule.pk}"
    if spec["step"] != "retire" and Job.objects.filter(subject=subject, state__in=LIVE).exists():
        raise Conflict("The key of this schedule is changing already; the banner shows how far it is.")
    items = [
        ItemRequest(
            account=schedule.account,
            label=repository.destination.name,
            spec={"repository": repository.pk, "destination": repository.destination.name},
            lease=repository.lease,
            exclusive=exclusive,
        )
        for repository in repositories_of(schedule)
        if spec["step"] == "extend" or not repository.destination.read_only
    ]
    request = JobRequest(
        kind=Kind.KEY,
        name=f"{words} {schedule.name}"[:200],
        subject=subject,
        trigger="manual",
        server=schedule.server,
        account=schedule.account,
        requested_by=actor,
        spec={"schedule": schedule.pk, **spec},
        items=items,
    )
    return job_enqueue(request)

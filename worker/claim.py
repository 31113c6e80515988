"""Claiming an item: who goes next, within the limits as they are now."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F, Q, QuerySet

from panel.options.selectors import options
from worker import leases
from worker.clock import now
from worker.models import Attempt, Job, JobItem
from worker.states import Kind, Slot, State

_LOOK_AHEAD = 3
_ONE_AT_A_TIME = (Kind.RESTORE, Kind.DOWNLOAD)


@dataclass(frozen=True, slots=True)
class Claim:
    """An item that is ours, and the attempt that says so."""

    item: JobItem
    attempt: Attempt


def claim_next(worker: str, server_id: int, *, session: tuple[int, str] | None = None) -> Claim | None:
    """Take the next item of a server: restores first, then by priority, then by age.

    ``session`` (job and lease) takes an item only if the next one belongs to it; without it, items of a job and
    repository that a session works on already are left to that session.  None if there is nothing to take.
    """
    if session is not None and not _waits_for(*session):
        return None
    blocked: set[tuple[str, bool]] = set()
    with transaction.atomic():
        leases.touch(f"claims:{server_id}")
        while items := _candidates(server_id, session, blocked):
            for item in items:
                if _is_blocked(item):
                    blocked.add((item.lease, item.exclusive))
                    continue
                if session is not None and (item.job_id, item.lease) != session:
                    return None
                return _take(item, worker)
    return None


def _waits_for(job_id: int, lease: str) -> bool:
    """Tell whether a session has more to do.  It asks several times a second, so that this locks nothing."""
    return JobItem.objects.filter(job=job_id, lease=lease, state=State.PENDING, finished_at=None).exists()


def _is_blocked(item: JobItem) -> bool:
    """Tell whether somebody else's lease is in the way, and note it on the item."""
    if not item.lease:
        return False
    leases.touch(item.lease)
    other = leases.holder(item.lease, exclusive=item.exclusive)
    if other is None:
        return False
    _wait(item, f"Waits for: {other.attempt.item.job.name}")
    return True


def _candidates(server_id: int, session: tuple[int, str] | None, blocked: set[tuple[str, bool]]) -> list[JobItem]:
    limits = options("pause_queue", *[slot.label for slot in Slot])
    if limits["pause_queue"]:
        return []
    live = JobItem.objects.filter(server=server_id, state=State.RUNNING)
    running = list(live.values_list("slot", "job", "lease", "account"))
    used = Counter(slot for slot, *_ in running)
    free = [slot for slot in Slot if used[slot] < int(limits[slot.label])]
    if not free:
        return []
    waiting = (
        JobItem.objects.filter(server=server_id, state=State.PENDING, job__cancel_at=None)
        .filter(Q(not_before=None) | Q(not_before__lte=now()))
        .select_related("job")
        .order_by("slot", "priority", "id")
    )
    if session is None:
        for job in {job for _, job, lease, _ in running if lease}:
            waiting = waiting.exclude(
                job=job, lease__in={lease for _, other, lease, _ in running if other == job and lease}
            )
        if served := {account for slot, _, _, account in running if slot == Slot.RESTORE and account}:
            waiting = _without(waiting, served)
    for lease, exclusive in blocked:
        waiting = waiting.exclude(lease=lease, exclusive=exclusive)
    # The order is that of the index: what is taken is found at its beginning, however much waits.
    return list((waiting if len(free) == len(Slot) else waiting.filter(slot__in=free))[:_LOOK_AHEAD])


def _without(waiting: QuerySet[JobItem], served: set[int]) -> QuerySet[JobItem]:
    """Leave out restores and downloads of accounts that have one at work: nobody takes the others' places."""
    theirs = Q(slot=Slot.RESTORE, account__in=served, job__kind__in=_ONE_AT_A_TIME)
    for item in waiting.filter(theirs, waits_for="")[:_LOOK_AHEAD]:
        _wait(item, "Waits for another restore or download of the same account")
    return waiting.exclude(theirs)


def _wait(item: JobItem, reason: str) -> None:
    if item.waits_for != reason:
        JobItem.objects.filter(pk=item.pk, state=State.PENDING).update(waits_for=reason[:200])


def _take(item: JobItem, worker: str) -> Claim | None:
    moment = now()
    if item.job.state == State.PENDING:
        # The job's row first, as everybody else who needs both.
        Job.objects.filter(pk=item.job_id, state=State.PENDING).update(state=State.RUNNING, started_at=moment)
    mine = JobItem.objects.filter(pk=item.pk, state=State.PENDING).update(
        state=State.RUNNING, started_at=moment, tries=F("tries") + 1, waits_for="", bytes_done=0, files_done=0, speed=0
    )
    if not mine:
        return None
    item.state, item.started_at, item.tries, item.waits_for = State.RUNNING, moment, item.tries + 1, ""
    item.bytes_done = item.files_done = item.speed = 0
    attempt = Attempt.objects.create(
        item=item, number=item.tries, worker=worker, started_at=moment, heartbeat_at=moment
    )
    if item.lease:
        leases.grant(item.lease, attempt, exclusive=item.exclusive)
    return Claim(item, attempt)

"""Claiming an item: who goes next, within the limits as they are now."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from django.db import transaction

from panel.options.selectors import options
from worker import leases
from worker.clock import now
from worker.models import Attempt, Job, JobItem
from worker.states import Kind, Slot, State
from worker.waiting import Condition, RunningItem, among, item_start, running_items, waiting_items

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
    _wait(item, f"Waits for: {other.job_name}")
    return True


def _candidates(server_id: int, session: tuple[int, str] | None, blocked: set[tuple[str, bool]]) -> list[JobItem]:
    limits = options("pause_queue", *[slot.label for slot in Slot])
    if limits["pause_queue"]:
        return []
    running = running_items(server_id)
    used = Counter(item.slot for item in running)
    free = [slot for slot in Slot if used[slot] < int(limits[slot.label])]
    if not free:
        return []
    left_out = [Condition("item.lease = %s AND item.exclusive = %s", each) for each in blocked]
    if session is None:
        left_out += _in_sessions(running) + _served(server_id, running)
    # Usually the first can be had; after one that could not, several are looked at.
    return waiting_items(server_id, free, [~each for each in left_out], _LOOK_AHEAD if blocked else 1)


def _in_sessions(running: list[RunningItem]) -> list[Condition]:
    """Return what is left to the sessions that work already."""
    leased: dict[int, set[str]] = defaultdict(set)
    for item in running:
        if item.lease:
            leased[item.job_id].add(item.lease)
    return [Condition("item.job_id = %s", (job,)) & among("item.lease", names) for job, names in leased.items()]


def _served(server_id: int, running: list[RunningItem]) -> list[Condition]:
    """Return restores and downloads of accounts that have one at work, and say so on the first: nobody takes the
    others' places.
    """
    served = {item.account_id for item in running if item.slot == Slot.RESTORE and item.account_id}
    if not served:
        return []
    theirs = among("item.account_id", served) & among("job.kind", [str(kind) for kind in _ONE_AT_A_TIME])
    untold = Condition("item.waits_for = ''")
    for item in waiting_items(server_id, [Slot.RESTORE], [theirs, untold], _LOOK_AHEAD):
        _wait(item, "Waits for another restore or download of the same account")
    return [Condition("item.slot = %s", (int(Slot.RESTORE),)) & theirs]


def _wait(item: JobItem, reason: str) -> None:
    if item.waits_for != reason:
        JobItem.objects.filter(pk=item.pk, state=State.PENDING).update(waits_for=reason[:200])


def _take(item: JobItem, worker: str) -> Claim | None:
    moment = now()
    if item.job_state == State.PENDING:  # type: ignore[attr-defined]
        # The job's row first, as everybody else who needs both.
        Job.objects.filter(pk=item.job_id, state=State.PENDING).update(state=State.RUNNING, started_at=moment)
    if not item_start(item, moment):
        return None
    item.state, item.started_at, item.tries, item.waits_for = State.RUNNING, moment, item.tries + 1, ""
    item.bytes_done = item.files_done = item.speed = 0
    attempt = Attempt.objects.create(
        item=item, number=item.tries, worker=worker, started_at=moment, heartbeat_at=moment
    )
    if item.lease:
        leases.grant(item.lease, attempt, exclusive=item.exclusive)
    return Claim(item, attempt)

"""What a worker does when a schedule's key changes: one item for each of its repositories."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from backups.gateway import master_key
from backups.importing import import_snapshots
from backups.keygate import add_key, known_keys, next_key, old_key, remove_keys, schedule_key, stored_snapshots
from backups.keys import new_key, next_key_place, repository_place
from backups.models import OldKey, Repository, Schedule
from backups.reveal import replace_key
from backups.services.keys import key_retire
from panel.core.errors import PanelError
from worker.claim import Claim
from worker.clock import now
from worker.finish import Outcome, item_finish
from worker.joblog import log_line
from worker.models import Job
from worker.states import State

_NOT_THERE = ("HF-REPO-MISSING", "HF-STORE-MISSING")


def run_key(claim: Claim) -> None:
    """Do one item of a change of keys, and what follows when it was the last."""
    spec = claim.item.job.spec
    schedule = Schedule.objects.get(pk=spec["schedule"])
    repository = Repository.objects.select_related("destination").get(pk=claim.item.spec["repository"])
    try:
        result = _STEPS[spec["step"]](claim, schedule, repository)
        outcome = Outcome(State.SUCCESS, result)
    except PanelError as error:
        if error.code in _NOT_THERE:
            log_line(claim.item.job, claim.item, "there is no repository yet; the first run makes it")
            outcome = Outcome(State.SUCCESS, {})
        else:
            log_line(claim.item.job, claim.item, f"stopped: {error} ({error.code})", level="error")
            outcome = Outcome(State.FAILED, code=error.code, error=str(error), guidance=error.guidance)
    item_finish(claim, outcome)
    _follow(claim.item.job_id, schedule.pk)


def _rotate(claim: Claim, schedule: Schedule, repository: Repository) -> dict[str, Any]:
    key = _key_to_be(schedule)
    added = add_key(repository, key, known_keys(repository, schedule), claim)
    log_line(claim.item.job, claim.item, "new key added and opened again" if added else "the new key opens it already")
    return {"added": int(added)}


def _extend(claim: Claim, schedule: Schedule, repository: Repository) -> dict[str, Any]:
    keys = known_keys(repository, schedule)
    if not repository.destination.read_only:
        added = add_key(repository, schedule_key(schedule), keys, claim)
        log_line(claim.item.job, claim.item, "key added" if added else "the key opens it")
    snapshots = stored_snapshots(repository, keys, claim)
    new = import_snapshots(repository, schedule, snapshots)
    log_line(claim.item.job, claim.item, f"{len(snapshots)} snapshots read, {new} of them new here")
    return {"snapshots": len(snapshots), "new": new}


def _retire(claim: Claim, schedule: Schedule, repository: Repository) -> dict[str, Any]:
    old = OldKey.objects.get(pk=claim.item.job.spec["old"])
    if not old.sealed_key:
        return {}
    present, gone = schedule_key(schedule), old_key(old)
    if present == gone:
        return {}
    shared = repository.sealed_key and master_key().open(repository_place(repository.pk), repository.sealed_key)
    if shared == gone:
        # First: a repository that is not there yet must not be made with it.
        sealed = master_key().seal(repository_place(repository.pk), present)
        Repository.objects.filter(pk=repository.pk).update(sealed_key=sealed)
    removed = remove_keys(repository, present, [gone], claim)
    log_line(claim.item.job, claim.item, "the old key opens it no more" if removed else "the old key did not open it")
    return {"removed": removed}


_STEPS = {"rotate": _rotate, "extend": _extend, "retire": _retire}


def _key_to_be(schedule: Schedule) -> str:
    """Return the key a schedule changes to; the first item that asks makes it."""
    if not schedule.sealed_next_key:
        sealed = master_key().seal(next_key_place(schedule.pk), new_key())
        Schedule.objects.filter(pk=schedule.pk, sealed_next_key="").update(sealed_next_key=sealed)
        schedule.refresh_from_db(fields=["sealed_next_key"])
    return next_key(schedule)


def _follow(job_id: int, schedule_id: int) -> None:
    """When all repositories took the new key: make it the schedule's, then retire the old one; once."""
    job = Job.objects.get(pk=job_id)
    if job.is_live or job.state != State.SUCCESS:
        return
    if job.spec["step"] == "retire":
        OldKey.objects.filter(pk=job.spec["old"], removed_at=None).update(removed_at=now(), sealed_key="")
        return
    if job.spec["step"] != "rotate":
        return
    with transaction.atomic():
        schedule = Schedule.objects.get(pk=schedule_id)
        sealed = schedule.sealed_next_key
        if not sealed or not Schedule.objects.filter(pk=schedule_id, sealed_next_key=sealed).update(sealed_next_key=""):
            return
        schedule.sealed_next_key = sealed
        old = replace_key(schedule, next_key(schedule))
        key_retire(schedule, old, actor=job.requested_by)

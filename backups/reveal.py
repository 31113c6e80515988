"""Questions about a schedule's key, answered by a worker: show it, try another one, use that one.

The password comes sealed to the worker, which checks it, counts wrong ones and writes the audit line; a key goes back
sealed for the one request.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from django.db import transaction

from backups.gateway import master_key
from backups.keygate import schedule_key, try_key
from backups.keys import clean_key, fingerprint, old_key_place, repository_place, schedule_place
from backups.models import OldKey, Repository, Schedule
from backups.places import answer_place, password_place, pasted_place
from backups.services.keys import key_extend, repositories_of
from panel.accounts.models import User
from panel.audit.models import AuditEvent
from panel.audit.services import record
from panel.core.errors import Conflict, NotAllowed, PanelError, WrongPassword
from panel.core.sealing import PublicSealer
from worker.clock import now

_TRIES, _TRIALS = 10, 30
_WITHIN = timedelta(minutes=15)


def reveal_key(user: User, question: dict[str, Any]) -> dict[str, Any]:
    """Return the key sealed to the public key in the question.  PanelError, NotAllowed."""
    schedule = _schedule(user, question)
    check_password(user, question)
    subject = f"schedule:{schedule.pk}"
    record("key.shown", actor=user, subject=subject, address=question.get("address"), name=schedule.name)
    receiver = PublicSealer(X25519PublicKey.from_public_bytes(base64.b64decode(question["public_key"])))
    return {"key": receiver.seal(answer_place(schedule.pk), schedule_key(schedule))}


def try_pasted(user: User, question: dict[str, Any]) -> dict[str, Any]:
    """Return what a pasted key opens, step by step for each repository.  Nothing changes.  PanelError, NotAllowed."""
    schedule = _schedule(user, question)
    since = now() - _WITHIN
    if AuditEvent.objects.filter(actor_name=user.username, action="key.tried", at__gte=since).count() >= _TRIALS:
        raise NotAllowed("Too many trials. Wait 15 minutes.")
    record("key.tried", actor=user, subject=f"schedule:{schedule.pk}", address=question.get("address"))
    key = _pasted(schedule, question)
    trials = [_trial(schedule, repository, key, user) for repository in repositories_of(schedule)]
    opens = any(trial["opens"] for trial in trials)
    return {"trials": trials, "opens": opens, "same": fingerprint(key) == schedule.key_fingerprint}


def use_pasted(user: User, question: dict[str, Any]) -> dict[str, Any]:
    """Take a pasted key that opens something: beside the present one, or instead of it.  PanelError, NotAllowed."""
    schedule = _schedule(user, question)
    check_password(user, question)
    key = _pasted(schedule, question)
    opened = [repository for repository in repositories_of(schedule) if _opens(repository, key)]
    if not opened:
        raise Conflict("This key opens none of the schedule's repositories; nothing was changed.")
    replace = question.get("how") == "replace"
    with transaction.atomic():
        for repository in opened:
            sealed = master_key().seal(repository_place(repository.pk), key)
            Repository.objects.filter(pk=repository.pk).update(sealed_key=sealed)
        if replace:
            replace_key(schedule, key)
        subject, action = f"schedule:{schedule.pk}", "key.replaced" if replace else "key.added"
        record(action, actor=user, subject=subject, address=question.get("address"), name=schedule.name)
        job = key_extend(schedule, actor=user)
    return {"job": job.pk}


def replace_key(schedule: Schedule, key: str) -> OldKey:
    """Make ``key`` the schedule's; the present one is set aside.  The caller holds a transaction."""
    moment = now()
    present = schedule_key(schedule)
    old = OldKey.objects.create(
        schedule=schedule, fingerprint=schedule.key_fingerprint, made_at=schedule.key_made_at, retired_at=moment
    )
    OldKey.objects.filter(pk=old.pk).update(sealed_key=master_key().seal(old_key_place(old.pk), present))
    Schedule.objects.filter(pk=schedule.pk).update(
        sealed_key=master_key().seal(schedule_place(schedule.pk), key),
        sealed_next_key="",
        key_fingerprint=fingerprint(key),
        key_made_at=moment,
        key_saved_at=None,
    )
    return old


def check_password(user: User, question: dict[str, Any]) -> None:
    """Check the password that came sealed with a question.  NotAllowed if it is wrong, or was too often."""
    since = now() - _WITHIN
    if AuditEvent.objects.filter(actor_name=user.username, action="key.refused", at__gte=since).count() >= _TRIES:
        raise WrongPassword("Too many wrong passwords. Try again in 15 minutes.")
    password = master_key().open(password_place(question["request"]), question["password"])
    if not user.check_password(password):
        subject = f"schedule:{question['schedule']}"
        record("key.refused", actor=user, subject=subject, address=question.get("address"))
        raise WrongPassword


def _schedule(user: User, question: dict[str, Any]) -> Schedule:
    schedule = Schedule.objects.visible_to(user).filter(pk=question["schedule"]).first()
    if schedule is None or (schedule.account_id is None and not user.is_admin):
        raise PanelError("This schedule does not exist.")
    return schedule


def _pasted(schedule: Schedule, question: dict[str, Any]) -> str:
    return clean_key(master_key().open(pasted_place(schedule.pk), question["pasted"]))


def _opens(repository: Repository, key: str) -> bool:
    return bool(try_key(repository, key)[-1]["opens"])


def _trial(schedule: Schedule, repository: Repository, key: str, user: User) -> dict[str, Any]:
    *steps, end = try_key(repository, key)
    own = repository.snapshots.filter(schedule=schedule, removed_at=None).count()
    return {
        "destination": repository.destination.name if user.is_admin else "",
        "steps": steps,
        "opens": end["opens"],
        "unreadable": 0 if end["opens"] else own,
        "snapshots": end.get("snapshots", 0),
        "newest": end.get("newest"),
    }


KEY_VERBS = {"key": reveal_key, "key_try": try_pasted, "key_use": use_pasted}
"""The questions about keys, by name."""

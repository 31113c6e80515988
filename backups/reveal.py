"""Showing a schedule's key: the password comes sealed to the worker, the key goes back sealed for this one request."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from backups.gateway import master_key
from backups.keys import schedule_place
from backups.models import Schedule
from backups.places import answer_place, password_place
from panel.accounts.models import User
from panel.audit.models import AuditEvent
from panel.audit.services import record
from panel.core.errors import NotAllowed, PanelError
from panel.core.sealing import PublicSealer
from worker.clock import now

_TRIES = 10
_WITHIN = timedelta(minutes=15)


def reveal_key(user: User, question: dict[str, Any]) -> dict[str, Any]:
    """Return the key sealed to the public key in the question.  PanelError, NotAllowed."""
    schedule = Schedule.objects.visible_to(user).filter(pk=question["schedule"]).first()
    if schedule is None or (schedule.account_id is None and not user.is_admin):
        raise PanelError("This schedule does not exist.")
    since = now() - _WITHIN
    if AuditEvent.objects.filter(actor_name=user.username, action="key.refused", at__gte=since).count() >= _TRIES:
        raise NotAllowed("Too many wrong passwords. Try again in 15 minutes.")
    key = master_key()
    password = key.open(password_place(question["request"]), question["password"])
    subject = f"schedule:{schedule.pk}"
    if not user.check_password(password):
        record("key.refused", actor=user, subject=subject, address=question.get("address"))
        raise NotAllowed("The password is wrong.")
    record("key.shown", actor=user, subject=subject, address=question.get("address"), name=schedule.name)
    receiver = PublicSealer(X25519PublicKey.from_public_bytes(base64.b64decode(question["public_key"])))
    opened = key.open(schedule_place(schedule.pk), schedule.sealed_key)
    return {"key": receiver.seal(answer_place(schedule.pk), opened)}

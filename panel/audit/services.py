"""Writing to the audit log, and proving that nobody changed it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from panel.audit.models import AuditEvent
from panel.audit.origin import origin

_START = "0" * 64
_CHAIN_LOCK = 0x484F4C44


def record(
    action: str, *, actor: Any = None, subject: str = "", address: str | None = None, acting_as: str = "", **detail: Any
) -> AuditEvent:
    """Append an entry.  ``detail`` holds plain values and never a secret.

    What the request knows (:mod:`panel.audit.origin`) is added: the address, the token, and the person behind: who
    acts as somebody else is the actor, and the other one is whom they acted as.
    """
    known = actor if getattr(actor, "pk", None) else None
    where = origin()
    name, number = (known.username, known.pk) if known else ("system", None)
    if where.behind and known is not None and not acting_as and where.behind_id != known.pk:
        acting_as, name, number = name, where.behind, where.behind_id
    if where.token:
        detail |= {"token": where.token}
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CHAIN_LOCK])
        last = AuditEvent.objects.order_by("-id").only("hash").first()
        event = AuditEvent(
            at=timezone.now(),
            actor_id=number,
            actor_name=name,
            acting_as=acting_as,
            action=action,
            subject=subject,
            detail=detail,
            address=address or where.address,
            previous=last.hash if last else _START,
        )
        event.hash = _hash_of(event)
        event.save(force_insert=True)
    return event


def first_break() -> int | None:
    """Return the number of the first entry that does not fit its place in the chain; None if all do."""
    previous = _START
    for event in AuditEvent.objects.order_by("id").iterator(1000):
        if event.previous != previous or event.hash != _hash_of(event):
            return event.pk
        previous = event.hash
    return None


def _hash_of(event: AuditEvent) -> str:
    at: datetime = event.at
    fields = [
        event.previous,
        at.isoformat(),
        event.actor_name,
        event.acting_as,
        event.action,
        event.subject,
        event.detail,
        event.address,
    ]
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

"""The right to use a resource: many may share it, or one has it alone.

Leases live with the attempt that took them; the reaper frees those of lost attempts.  All callers hold a
transaction: touching the resource's row makes them queue up behind each other.
"""

from __future__ import annotations

from django.db import connection

from worker.models import Attempt, Lease

_TOUCH = (
    "INSERT INTO worker_resource AS mine (key, touched) VALUES (%s, 1) "
    "ON CONFLICT (key) DO UPDATE SET touched = mine.touched + 1"
)
"""One statement, as two could both find no row."""


def touch(key: str) -> None:
    """Lock the row of a resource until the transaction ends; it is made the first time."""
    with connection.cursor() as cursor:
        cursor.execute(_TOUCH, [key])


def holder(key: str, *, exclusive: bool) -> Lease | None:
    """Return a lease that stands in the way of another one, with the name of its job, or None."""
    others = Lease.objects.filter(resource=key)
    if not exclusive:
        others = others.filter(exclusive=True)
    named = others.select_related("attempt__item__job").only("resource", "attempt__item__job__name")
    return named.order_by("pk").first()


def grant(key: str, attempt: Attempt, *, exclusive: bool) -> None:
    """Store a lease; the caller has asked :func:`holder` in the same transaction."""
    Lease.objects.create(resource_id=key, attempt=attempt, exclusive=exclusive)


def free(attempt: Attempt) -> None:
    """Give back whatever an attempt holds."""
    Lease.objects.filter(attempt=attempt).delete()

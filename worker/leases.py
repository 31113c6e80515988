"""The right to use a resource: many may share it, or one has it alone.

Leases live with the attempt that took them; the reaper frees those of lost attempts.  All callers hold a
transaction: touching the resource's row makes them queue up behind each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

from worker.models import Attempt, Lease

_TOUCH = (
    "INSERT INTO worker_resource AS mine (key, touched) VALUES (%s, 1) "
    "ON CONFLICT (key) DO UPDATE SET touched = mine.touched + 1"
)
"""One statement, as two could both find no row."""

_IN_THE_WAY = "SELECT attempt_id FROM worker_lease WHERE resource_id = %s AND (exclusive OR NOT %s) ORDER BY id LIMIT 1"
_GRANT = "INSERT INTO worker_lease (resource_id, attempt_id, exclusive) VALUES (%s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a lease: an attempt, and the name of its job."""

    attempt_id: int
    job_name: str


def touch(key: str) -> None:
    """Lock the row of a resource until the transaction ends; it is made the first time."""
    with connection.cursor() as cursor:
        cursor.execute(_TOUCH, [key])


def holder(key: str, *, exclusive: bool) -> Holder | None:
    """Return whose lease stands in the way of another one, or None."""
    with connection.cursor() as cursor:
        cursor.execute(_IN_THE_WAY, [key, not exclusive])
        row = cursor.fetchone()
    if row is None:
        return None
    names = Attempt.objects.filter(pk=row[0]).values_list("item__job__name", flat=True)
    return Holder(row[0], names.first() or "")


def grant(key: str, attempt: Attempt, *, exclusive: bool) -> None:
    """Store a lease; the caller has asked :func:`holder` in the same transaction."""
    with connection.cursor() as cursor:
        cursor.execute(_GRANT, [key, attempt.pk, exclusive])


def free(attempt: Attempt) -> None:
    """Give back whatever an attempt holds."""
    Lease.objects.filter(attempt=attempt).delete()

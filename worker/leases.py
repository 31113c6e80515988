"""The right to use a resource: many may share it, or one has it alone.

Leases live with the attempt that took them; the reaper frees those of lost attempts.  All callers hold a
transaction: touching the resource's row makes them queue up behind each other.
"""

from __future__ import annotations

from django.db.models import F

from worker.models import Attempt, Lease, Resource


def touch(key: str) -> None:
    """Lock the row of a resource until the transaction ends."""
    if not Resource.objects.filter(pk=key).update(touched=F("touched") + 1):
        Resource.objects.bulk_create([Resource(key=key)], ignore_conflicts=True)
        Resource.objects.filter(pk=key).update(touched=F("touched") + 1)


def holder(key: str, *, exclusive: bool) -> Lease | None:
    """Return a lease that stands in the way of another one, or None."""
    others = Lease.objects.filter(resource=key)
    if not exclusive:
        others = others.filter(exclusive=True)
    return others.select_related("attempt__item__job").order_by("pk").first()


def grant(key: str, attempt: Attempt, *, exclusive: bool) -> None:
    """Store a lease; the caller has asked :func:`holder` in the same transaction."""
    Lease.objects.create(resource_id=key, attempt=attempt, exclusive=exclusive)


def free(attempt: Attempt) -> None:
    """Give back whatever an attempt holds."""
    Lease.objects.filter(attempt=attempt).delete()

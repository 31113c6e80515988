"""What a schedule's first run would send, before there is one: bytes and requests for each destination.

The figures of requests were measured with first runs of 100 MB to real servers; how much the data shrinks is not known
before it is read, so bytes are told as a range.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Sum

from destinations.models import Destination, DestinationKind
from panel.accounts.models import Account, AccountStatus

_MB = 1_000_000
_LEAST_SHARE = 0.4
"""Of the bytes of an account that is mostly text; pictures and archives do not shrink at all."""
_REQUESTS = {
    DestinationKind.LOCAL: (0, 0.0),
    DestinationKind.FTP: (320, 1.0),
    DestinationKind.SFTP: (330, 7.3),
    DestinationKind.S3: (20, 0.2),
}
"""Requests of an empty first run (folders are made, identity and lock written), and for each MB that is sent."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is to be expected at one destination; ``least`` and ``most`` in bytes."""

    destination: Destination
    least: int
    most: int
    requests: int


@dataclass(frozen=True, slots=True)
class FirstRun:
    """The estimates of a first run.  ``unknown`` of its ``accounts`` have not been measured, and are left out."""

    accounts: int
    unknown: int
    size: int
    places: list[Estimate]


def estimate_first_run(viewer: Any, *, account: Account | None, destinations: Iterable[Destination]) -> FirstRun:
    """Return what the first run over one account, or over all active ones, would send to these destinations."""
    rows = Account.objects.visible_to(viewer).filter(status=AccountStatus.ACTIVE)
    if account is not None:
        rows = rows.filter(pk=account.pk)
    found = rows.aggregate(all=Count("pk"), known=Count("disk_bytes"), size=Sum("disk_bytes"))
    size = int(found["size"] or 0)
    return FirstRun(
        accounts=found["all"],
        unknown=found["all"] - found["known"],
        size=size,
        places=[_at(place, size) for place in destinations] if size else [],
    )


def _at(place: Destination, size: int) -> Estimate:
    fixed, each = _REQUESTS[DestinationKind(place.kind)]
    return Estimate(place, round(size * _LEAST_SHARE), size, round(fixed + each * size / _MB))

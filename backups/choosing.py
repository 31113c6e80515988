"""Schedules as search fields offer them."""

from __future__ import annotations

import re

from django.db.models import Q, QuerySet

from backups.models import Schedule
from panel.accounts.choosing import KINDS, Kind, Offer

_WITH_NUMBER = re.compile(r"\((\d{1,9})\)\s*$").search


def offer_schedules() -> None:
    """Let search fields offer schedules."""
    KINDS["schedules"] = Kind(
        one="schedule",
        offered=lambda viewer: Schedule.objects.visible_to(viewer).present().select_related("account"),
        offer=_offer,
        holds=lambda text: Q(name__icontains=text) | Q(account__name__istartswith=text),
        begins=lambda text: Q(name__istartswith=text),
        exact=_exact,
        order="name",
    )


def schedule_meant(rows: QuerySet[Schedule], text: str) -> list[Schedule]:
    """Return the schedules that a text means: one by its number, or all of a name."""
    if text.isdecimal() and len(text) < 10:
        return list(rows.filter(pk=int(text)))
    return list(rows.filter(_exact(text)[0]))


def _offer(row: Schedule) -> Offer:
    return Offer(f"{row.name} ({row.pk})", row.name, row.account.name if row.account else "Entire server")


def _exact(text: str) -> list[Q]:
    number = _WITH_NUMBER(text)
    return [Q(pk=int(number[1]))] if number else [Q(name__iexact=text)]

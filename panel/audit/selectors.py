"""Searching the audit log."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Q

from panel.audit.models import AuditEvent

FILTERS = ("q", "who", "what", "address", "since", "until")


def events(chosen: Mapping[str, str]) -> Any:
    """Return the entries that fit, newest first.  What is no day and no address narrows nothing.

    ``who`` is a person, acting or acted as; ``what`` a kind of change (``token``, ``token.created``); ``q`` a part of
    what it was about; ``since`` and ``until`` are days, both included, in UTC.
    """
    rows = AuditEvent.objects.all()
    if chosen.get("who"):
        rows = rows.filter(Q(actor_name__iexact=chosen["who"]) | Q(acting_as__iexact=chosen["who"]))
    if chosen.get("what"):
        rows = rows.filter(Q(action=chosen["what"]) | Q(action__startswith=chosen["what"] + "."))
    if chosen.get("q"):
        rows = rows.filter(Q(subject__icontains=chosen["q"]) | Q(action__icontains=chosen["q"]))
    address, since, until = _address(chosen), _day(chosen, "since"), _day(chosen, "until")
    if address:
        rows = rows.filter(address=address)
    if since:
        rows = rows.filter(at__gte=since)
    if until:
        rows = rows.filter(at__lt=until + timedelta(days=1))
    return rows


def _address(chosen: Mapping[str, str]) -> str:
    try:
        return str(ipaddress.ip_address(chosen.get("address", "")))
    except ValueError:
        return ""


def _day(chosen: Mapping[str, str], name: str) -> datetime | None:
    try:
        return datetime.strptime(chosen.get(name, ""), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None

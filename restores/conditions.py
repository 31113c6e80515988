"""Statements that people accept before a restore (RST-01 to RST-03), and how often they may restore (RST-11)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from panel.accounts.models import Account
from panel.audit.services import record
from panel.core.errors import Conflict, Invalid, PanelError
from panel.options.selectors import options
from restores.models import Restore, RestoreCondition
from worker.clock import now

MOST = 20
LONGEST = 1000


class NotAccepted(Invalid):
    """A condition was not accepted, or changed since the person read it."""

    code = "HF-CONDITION"
    guidance = "Read the conditions beside the Restore button and tick each of them."


class TooOften(PanelError):
    """The account used up its restores of the period."""

    code = "HF-RESTORE-LIMIT"
    status = 429
    guidance = "An undo and a download are possible all the time; the administrator of this server can restore at once."


def condition_mark(condition: RestoreCondition) -> str:
    """Return what a form sends back for an accepted condition: it names the very text that was read."""
    return f"{condition.pk}-{hashlib.sha256(condition.text.encode()).hexdigest()[:12]}"


def conditions_for(viewer: Any) -> list[RestoreCondition]:
    """Return what a viewer has to accept: administrators, who make the conditions, nothing."""
    return [] if viewer.is_admin else list(RestoreCondition.objects.all())


def check_accepted(accepted: Collection[str], actor: Any) -> list[int]:
    """Return the numbers of the conditions an actor accepted.  NotAccepted unless that is every one of them."""
    conditions = conditions_for(actor)
    if any(condition_mark(condition) not in accepted for condition in conditions):
        raise NotAccepted("Accept the conditions of a restore first.")
    return [condition.pk for condition in conditions]


def condition_save(text: str, *, actor: Any, condition: RestoreCondition | None = None) -> RestoreCondition:
    """Make a condition, or change one; who accepted it before is asked again.  Invalid, Conflict."""
    words = text.strip()
    if not words or len(words) > LONGEST or "\0" in words:
        raise Invalid(f"Write what people accept, in up to {LONGEST:,} letters.")
    if condition is None and RestoreCondition.objects.count() >= MOST:
        raise Conflict(f"There are {MOST} conditions already; nobody reads more.")
    made = condition is None
    condition = condition or RestoreCondition()
    condition.text = words
    condition.save()
    record("condition.created" if made else "condition.changed", actor=actor, subject=f"condition:{condition.pk}",
           text=words[:300])  # fmt: skip
    return condition


def condition_delete(condition: RestoreCondition, *, actor: Any) -> None:
    """Remove a condition."""
    record("condition.deleted", actor=actor, subject=f"condition:{condition.pk}", text=condition.text[:300])
    condition.delete()


def check_restore_limit(account: Account, actor: Any, moment: datetime | None = None) -> None:
    """Raise TooOften if the account's people asked for as many restores within the period as they may.

    Administrators' restores are not counted and not limited, nor is an undo.
    """
    limit = options("restore_limit_times", "restore_limit_hours")
    times, hours = int(limit["restore_limit_times"]), int(limit["restore_limit_hours"])
    if actor.is_admin or not times or not hours:
        return
    since = (moment or now()) - timedelta(hours=hours)
    asked = Restore.objects.filter(account=account, undo_of=None, by_admin=False, created_at__gt=since)
    oldest = asked.order_by("-created_at").values_list("created_at", flat=True)[times - 1 : times]
    if oldest:
        minutes = max(1, -(-int((oldest[0] + timedelta(hours=hours) - (moment or now())).total_seconds()) // 60))
        wait = f"{minutes} min" if minutes < 120 else f"{-(-minutes // 60)} h"
        some = "restore" if times == 1 else "restores"
        raise TooOften(f"This account may start {times} {some} within {hours} h. The next one is possible in {wait}.")

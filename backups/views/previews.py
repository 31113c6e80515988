"""What the schedule form shows while it is filled in: a sentence, the next runs, and what would be kept."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from backups.estimates import FirstRun, estimate_first_run
from backups.forms import checked_rules, moment_words, timing_from, usable_destinations
from backups.models import Schedule, Scope
from backups.retention import about_how_many, preview
from backups.timing import changes_clock, next_runs, spoken
from destinations.models import Destination, DestinationKind
from panel.accounts.choosing import account_meant
from panel.accounts.models import Account, AccountStatus
from panel.core.errors import PanelError
from panel.core.text import count
from worker.clock import now

FIRST_LINES = 8
_MOST_PLACES, _DIGITS = 50, 12
_REMOTE = (DestinationKind.S3, DestinationKind.SFTP, DestinationKind.FTP)


def previews(
    given: Any, *, viewer: Any, schedule: Schedule | None, twelve: bool, all_lines: bool = False
) -> dict[str, Any]:
    """Return what the three previews show for a form's data."""
    return {
        "timing": _timing(given, twelve),
        "sentence": _sentence(given, viewer, twelve),
        "keep": _keep(given, viewer, schedule, all_lines),
        "first": _first(given, viewer, schedule),
    }


def _timing(given: Any, twelve: bool) -> dict[str, Any]:
    try:
        timing = timing_from(given)
        runs = next_runs(timing, now())
    except ValueError as error:
        return {"error": str(error)}
    zone = ZoneInfo(timing.zone)
    lines = [(moment_words(run.astimezone(zone), twelve=twelve), f"{run.astimezone(UTC):%H:%M} UTC") for run in runs]
    return {
        "runs": lines,
        "zone": timing.zone,
        "by_hand": timing.frequency == "manual",
        "jitter": timing.jitter,
        "changes": timing.zone != "UTC" and timing.frequency != "hourly" and changes_clock(timing, now()),
    }


def _sentence(given: Any, viewer: Any, twelve: bool) -> str:
    try:
        when = spoken(timing_from(given), twelve=twelve)
    except ValueError:
        return ""
    scope = str(given.get("scope") or "full")
    what = "everything" if scope == "full" else f"the {Scope(scope).label.lower()}" if scope in Scope.values else "it"
    if scope == "web":
        what = "the web files"
    places = len(_listed(given, "destinations")) + bool(given.get("own-kind"))
    where = count(places, "destination") if places else "no destination yet"
    try:
        kept = f", and keep about {about_how_many(checked_rules(given)):,} snapshots of each account"
        kept = kept.replace("about 1 snapshots", "the newest snapshot")
    except PanelError:
        kept = ""
    return f"{when}, back up {what} of {_whose(given, viewer)} to {where}{kept}."


def _whose(given: Any, viewer: Any) -> str:
    accounts = Account.objects.visible_to(viewer)
    if (given.get("mode") or "server") == "server" and viewer.is_admin:
        many = accounts.filter(status=AccountStatus.ACTIVE).count()
        return f"all {count(many, 'account')}" if many != 1 else "the one account"
    named = account_meant(accounts, str(given.get("account") or ""))
    return named.name if named else "one account"


def _first(given: Any, viewer: Any, schedule: Schedule | None) -> FirstRun | None:
    """Return what the first run would send; None once there was one."""
    if schedule is not None and schedule.snapshots.exists():
        return None
    account = None
    if (given.get("mode") or "server") != "server" or not viewer.is_admin:
        account = account_meant(Account.objects.visible_to(viewer), str(given.get("account") or ""))
        if account is None:
            return None
    wanted = (str(getattr(each, "pk", each)) for each in _listed(given, "destinations"))
    chosen = [int(number) for number in wanted if number.isdecimal() and len(number) < _DIGITS]
    places = usable_destinations(viewer, schedule).filter(pk__in=chosen[:_MOST_PLACES])
    kind = str(given.get("own-kind") or "")
    own = [Destination(kind=kind, name="Its own storage")] if kind in _REMOTE else []
    return estimate_first_run(viewer, account=account, destinations=[*places, *own])


def _keep(given: Any, viewer: Any, schedule: Schedule | None, all_lines: bool) -> dict[str, Any]:
    like = {name: str(given.get(name) or "") for name in ("scope", "frequency", "zone")}
    try:
        rules = checked_rules(given)
        timing_from(given)
        seen = preview(schedule, rules, like=like, viewer=viewer)
    except (PanelError, ValueError) as error:
        return {"error": str(error)}
    if seen is None:
        return {"nothing": True}
    lines = seen.verdicts if all_lines else _most_telling(seen.verdicts)
    return {"seen": seen, "lines": lines, "more": len(seen.verdicts) - len(lines)}


def _most_telling(verdicts: list[Any]) -> list[Any]:
    """Return the newest few, the first that goes, and some of the oldest that stay."""
    if len(verdicts) <= FIRST_LINES:
        return verdicts
    going = [number for number, verdict in enumerate(verdicts) if not verdict.stays]
    staying = [number for number, verdict in enumerate(verdicts) if verdict.stays]
    chosen = {*range(FIRST_LINES - 3), *going[:1], *staying[-2:]}
    return [verdicts[number] for number in sorted(chosen)]


def _listed(given: Any, name: str) -> list[Any]:
    found = given.getlist(name) if hasattr(given, "getlist") else given.get(name)
    return list(found or [])

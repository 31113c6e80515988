"""Which snapshots of a schedule stay, and why: rows in, the engine's rules in the middle, marks out.

A bridge like the gateway: the services below it know nothing of the engine.  Snapshots count in groups of one
repository, account, schedule and kind.  What is damaged, locked, dated in the future or marked by somebody does not
count and is left as it is.  One of an empty home counts as little, and goes when there is a newer one with content.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q

from backups.engine.errors import BadRequest
from backups.engine.retention import Policy, apply
from backups.engine.snapshot import Snapshot as Stored
from backups.models import MarkedWhy, Repository, Schedule, Snapshot, SnapshotKind
from panel.audit.services import record
from panel.core.errors import Invalid
from worker.clock import now

RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
"""The rules in the order in which they are shown."""
_KINDS = (SnapshotKind.SCHEDULED, SnapshotKind.MANUAL)
_HOLLOW = "the home was empty: does not count"
_BATCH = 500
_MOST_LISTED, _MOST_COUNTED = 400, 20_000
_REASON = re.compile(r"(oldest )?(\w+) snapshot").fullmatch


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says of one snapshot: whether it stays, and why.  ``counted`` is False for one left aside."""

    snapshot: Snapshot
    stays: bool
    why: str
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Applied:
    """How many snapshots were marked to go, and how many are kept again after a change of the rules."""

    marked: int = 0
    kept_again: int = 0


@dataclass(frozen=True, slots=True)
class Preview:
    """What a policy would do to the snapshots of one account.

    ``others`` and ``others_go`` count the snapshots of all accounts of the schedule, this one included.
    """

    account: str
    schedule: Schedule
    verdicts: list[Verdict]
    others: int = 0
    others_go: int = 0

    @property
    def stay(self) -> int:
        """How many of the account stay."""
        return sum(verdict.stays for verdict in self.verdicts)

    @property
    def go(self) -> int:
        """How many of the account go."""
        return len(self.verdicts) - self.stay


def policy_of(rules: Mapping[str, Any]) -> Policy:
    """Return the engine's policy for stored rules; one without any keeps everything.  Invalid."""
    try:
        return Policy(**{name: int(rules.get(name) or 0) for name in RULES})
    except (BadRequest, ValueError, TypeError) as error:
        raise Invalid(f"These rules cannot be used: {error}.") from error


def verdicts(snapshots: Iterable[Snapshot], rules: Mapping[str, Any], zone: str, moment: datetime) -> list[Verdict]:
    """Return what the rules say of the snapshots of one group, newest first.  Invalid."""
    aside: list[Verdict] = []
    counted: dict[str, Snapshot] = {}
    for snapshot in snapshots:
        reason = _left_aside(snapshot, moment)
        if reason:
            aside.append(Verdict(snapshot, stays=True, why=reason, counted=False))
        else:
            counted[str(snapshot.pk)] = snapshot
    local = ZoneInfo(zone)
    stored = [Stored(time=row.taken_at.astimezone(local).isoformat(), tree="", id=key) for key, row in counted.items()]
    decided = apply(stored, policy_of(rules), int(moment.timestamp() * 1_000_000_000))
    newest = max((row.taken_at for row in counted.values()), default=None)
    aside = [_outlived(verdict, newest) for verdict in aside]
    used: Counter[str] = Counter()
    found = [Verdict(counted[d.snapshot.id], d.keep, _words(d.reasons, used) if d.keep else "") for d in decided]
    return sorted(found + aside, key=lambda verdict: verdict.snapshot.taken_at, reverse=True)


def apply_retention(
    schedule: Schedule, *, repository: Repository | None = None, moment: datetime | None = None
) -> Applied:
    """Mark what the schedule's rules do not keep, and take the mark from what they keep again.

    Nothing is removed here: the cleanup does that after the hold time.  ``repository`` limits it to one.  Invalid for
    rules that cannot be used; then nothing is changed.
    """
    moment = moment or now()
    gone: list[int] = []
    back: list[int] = []
    for group in _groups(schedule, repository):
        for verdict in verdicts(group, schedule.retention, schedule.zone, moment):
            marked = verdict.snapshot.marked_at is not None
            if not verdict.stays and not marked:
                gone.append(verdict.snapshot.pk)
            elif verdict.stays and marked:
                back.append(verdict.snapshot.pk)
    with transaction.atomic():
        for batch in _batches(gone):
            rows = Snapshot.objects.present().filter(pk__in=batch, marked_at=None)
            rows.update(marked_at=moment, marked_why=MarkedWhy.RETENTION)
        for batch in _batches(back):
            rows = Snapshot.objects.present().filter(pk__in=batch, marked_why=MarkedWhy.RETENTION)
            rows.update(marked_at=None, marked_why="")
        if gone or back:
            subject = f"schedule:{schedule.pk}"
            record("retention.applied", actor=None, subject=subject, marked=len(gone), kept_again=len(back))
    return Applied(len(gone), len(back))


def preview(
    schedule: Schedule | None, rules: Mapping[str, Any], *, like: Mapping[str, Any], viewer: Any
) -> Preview | None:
    """Return what ``rules`` would do to real snapshots: of the schedule, or, for a new one, of the most similar one.

    ``like`` says what the form holds (scope, frequency, zone).  None if there is nothing to look at.  Invalid.
    """
    moment = now()
    source = schedule if schedule is not None and schedule.snapshots.exists() else _most_similar(like, viewer)
    if source is None:
        return None
    biggest = (
        _own(source, None).values("account", "repository", "kind").annotate(many=Count("pk")).order_by("-many").first()
    )
    if biggest is None:
        return None
    group = max(_groups(source, None, account=biggest["account"], kind=biggest["kind"]), key=len)
    zone = str(like.get("zone") or source.zone)
    found = verdicts(group, rules, zone, moment)
    total, go = (len(found), sum(not verdict.stays for verdict in found))
    if source.account_id is None and source.snapshots.count() <= _MOST_COUNTED:
        total = go = 0
        for each in _groups(source, None):
            total += len(each)
            go += sum(not verdict.stays for verdict in verdicts(each, rules, zone, moment))
    name = group[0].account.name if group[0].account else "server"
    return Preview(name, source, found[:_MOST_LISTED], total, go)


def about_how_many(rules: Mapping[str, Any]) -> int:
    """Return about how many snapshots of an account the rules keep in the long run, at most."""
    return sum(int(rules.get(name) or 0) for name in RULES)


def _own(schedule: Schedule, repository: Repository | None) -> Any:
    rows = Snapshot.objects.present().filter(schedule=schedule, kind__in=_KINDS)
    rows = rows.filter(Q(marked_at=None) | Q(marked_why=MarkedWhy.RETENTION))
    return rows if repository is None else rows.filter(repository=repository)


def _groups(schedule: Schedule, repository: Repository | None, **only: Any) -> Iterator[list[Snapshot]]:
    rows = _own(schedule, repository).filter(**only).select_related("account")
    rows = rows.order_by("repository", "account", "kind", "-taken_at")
    for _, group in groupby(rows.iterator(2000), lambda row: (row.repository_id, row.account_id, row.kind)):
        yield list(group)


def _outlived(verdict: Verdict, newest: datetime | None) -> Verdict:
    """Let a snapshot of an empty home go when the home has content again."""
    snapshot = verdict.snapshot
    gone = verdict.why == _HOLLOW and newest is not None and snapshot.taken_at < newest
    return replace(verdict, stays=False, why="") if gone else verdict


def _left_aside(snapshot: Snapshot, moment: datetime) -> str:
    if snapshot.damaged_at is not None:
        return "damaged: does not count"
    if snapshot.locked_until is not None and snapshot.locked_until > moment:
        return "locked"
    if snapshot.taken_at > moment:
        return "dated in the future: does not count"
    return _HOLLOW if snapshot.is_hollow else ""


def _words(reasons: Iterable[str], used: Counter[str]) -> str:
    """Number the rules: the third daily one is ``daily 3``."""
    found = []
    for reason in reasons:
        match = _REASON(reason)
        if match is None:
            found.append(reason)
            continue
        used[match[2]] += 1
        found.append(f"{match[2]} {used[match[2]]}{', the oldest' if match[1] else ''}")
    return " · ".join(found) or "everything is kept"


def _most_similar(like: Mapping[str, Any], viewer: Any) -> Schedule | None:
    some = Snapshot.objects.present().filter(schedule=OuterRef("pk")).order_by()
    known = Schedule.objects.visible_to(viewer).filter(Exists(some))
    for wish in (
        {"scope": like.get("scope"), "frequency": like.get("frequency")},
        {"frequency": like.get("frequency")},
        {},
    ):
        found: Schedule | None = known.filter(**wish).order_by("-pk").first()
        if found is not None:
            return found
    return None


def _batches(numbers: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(numbers), _BATCH):
        yield numbers[start : start + _BATCH]

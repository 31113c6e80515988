"""Which snapshots a retention policy keeps, and why: a pure function of snapshots, policy and now.

The rules and the words of the reasons are those of the format's own tool.  Hours, days, weeks, months and years are
those of the wall clock at the time of the backup, in the offset its time was written with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from backups.engine.errors import BadRequest
from backups.engine.snapshot import Snapshot
from backups.engine.times import NANOSECONDS, clock_of, day_number, parse_time, zone_of

UNLIMITED = -1
"""As a count: keep one of every hour, day, … there is."""

_DAY, _HOUR = 86_400, 3600
_DURATION = re.compile(r"(?:\d{1,9}[ymdh])*", re.ASCII).fullmatch
_PART = re.compile(r"(\d+)([ymdh])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Duration:
    """A span on the calendar, written ``1y5m7d2h``."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    def __bool__(self) -> bool:
        return any((self.years, self.months, self.days, self.hours))

    def __str__(self) -> str:
        parts = ((self.years, "y"), (self.months, "m"), (self.days, "d"), (self.hours, "h"))
        return "".join(f"{count}{unit}" for count, unit in parts if count)

    def before(self, time: str) -> int:
        """The instant this long before an RFC 3339 time, by the calendar of its offset.  Raises ``Corrupt``.

        A day that the month lacks counts into the next month, as with stock restic.
        """
        clock = clock_of(time)
        year, month = divmod(clock.year * 12 + clock.month - 1 - self.years * 12 - self.months, 12)
        days = day_number(year, month + 1, 1) + clock.day - 1 - self.days
        seconds = clock.hour * _HOUR + clock.minute * 60 + clock.second - self.hours * _HOUR - zone_of(time)
        return (days * _DAY + seconds) * NANOSECONDS + parse_time(time) % NANOSECONDS


def parse_duration(text: str) -> Duration:
    """The span a text like ``1y5m7d2h`` means; empty means none.  Raises ``BadRequest``."""
    text = text.strip()
    if not _DURATION(text):
        raise BadRequest(f"not a duration: {text[:40]!r}; write years, months, days and hours like 1y5m7d2h")
    units = {unit: int(count) for count, unit in _PART.findall(text)}
    return Duration(units.get("y", 0), units.get("m", 0), units.get("d", 0), units.get("h", 0))


def parse_count(text: str) -> int:
    """A number of snapshots to keep, or ``unlimited``.  Raises ``BadRequest``."""
    if text == "unlimited":
        return UNLIMITED
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequest(f"not a number of snapshots: {text[:40]!r}; give 0 or more, or 'unlimited'")
    return int(text)


@dataclass(frozen=True, slots=True)
class Policy:
    """What to keep.  Raises ``BadRequest`` for negative numbers.

    Counts are 0 for none and ``UNLIMITED`` for all; ``tags`` are lists, of which one must be there whole.
    """

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: Duration = field(default=Duration())
    within_hourly: Duration = field(default=Duration())
    within_daily: Duration = field(default=Duration())
    within_weekly: Duration = field(default=Duration())
    within_monthly: Duration = field(default=Duration())
    within_yearly: Duration = field(default=Duration())
    tags: Sequence[Sequence[str]] = ()

    def __post_init__(self) -> None:
        counts = (self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly)
        spans = (self.within, *(span for _, span in self._spans()))
        numbers = [number for span in spans for number in (span.years, span.months, span.days, span.hours)]
        if min(counts) < UNLIMITED or min(numbers) < 0:
            raise BadRequest("a retention policy has no negative numbers")

    @property
    def empty(self) -> bool:
        """Whether it says nothing at all, so that everything stays."""
        return self == Policy(tags=self.tags) and not self.tags

    def _spans(self) -> list[tuple[str, Duration]]:
        return [
            ("hourly", self.within_hourly),
            ("daily", self.within_daily),
            ("weekly", self.within_weekly),
            ("monthly", self.within_monthly),
            ("yearly", self.within_yearly),
        ]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether one snapshot stays, and which rules say so."""

    snapshot: Snapshot
    keep: bool
    reasons: tuple[str, ...] = ()


def _week(clock: datetime) -> int:
    year, week, _ = clock.isocalendar()
    return year * 100 + week


_BUCKETS: dict[str, Callable[[datetime], int]] = {
    "hourly": lambda clock: ((clock.year * 100 + clock.month) * 100 + clock.day) * 100 + clock.hour,
    "daily": lambda clock: (clock.year * 100 + clock.month) * 100 + clock.day,
    "weekly": _week,
    "monthly": lambda clock: clock.year * 100 + clock.month,
    "yearly": lambda clock: clock.year,
}


@dataclass(slots=True)
class _Rule:
    """Keeps the newest snapshot of each bucket while its count lasts, of those after an instant if there is one."""

    name: str
    left: int = UNLIMITED
    after: int | None = None
    suffix: str = ""
    previous: int = -1

    def reason(self, number: int, snapshot: Snapshot, oldest: bool) -> str:
        if self.left == 0 or (self.after is not None and snapshot.instant <= self.after):
            return ""
        bucket = number if self.name == "last" else _BUCKETS[self.name](clock_of(snapshot.time))
        repeated = bucket == self.previous
        if repeated and not oldest:
            return ""
        self.previous = bucket
        if self.left > 0:
            self.left -= 1
        return f"{'oldest ' if repeated else ''}{self.name} {self.suffix or 'snapshot'}"


def apply(snapshots: Iterable[Snapshot], policy: Policy, now: int) -> list[Decision]:
    """What happens to each snapshot of one group, newest first.  ``now`` is in nanoseconds since 1970.

    Raises ``BadRequest`` when the policy would leave none of the group; an empty policy keeps all.
    """
    ordered = sorted(snapshots, key=lambda snapshot: -snapshot.instant)
    if policy.empty:
        return [Decision(snapshot, keep=True) for snapshot in ordered]
    counted, spans, within = _rules(ordered, policy, now)
    decisions = []
    for number, snapshot in enumerate(ordered):
        oldest = number == len(ordered) - 1
        reasons = [f"has tags [{', '.join(tags)}]" for tags in policy.tags if snapshot.has_tags(tags)]
        if policy.within and (within is None or snapshot.instant > within):
            reasons.append(f"within {policy.within}")
        reasons += filter(None, [rule.reason(number, snapshot, oldest) for rule in (*counted, *spans)])
        decisions.append(Decision(snapshot, bool(reasons), tuple(reasons)))
    if ordered and not any(decision.keep for decision in decisions):
        raise BadRequest("the policy would remove every snapshot of a group; nothing is removed")
    return decisions


def _rules(ordered: list[Snapshot], policy: Policy, now: int) -> tuple[list[_Rule], list[_Rule], int | None]:
    """The counted rules, the rules with a span, and where ``within`` begins; no beginning if all lies in the future."""
    newest = next((snapshot.time for snapshot in ordered if snapshot.instant < now), None)

    def beginning(span: Duration) -> int | None:
        return None if newest is None else span.before(newest)

    counts = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
    counted = [_Rule(name, left=getattr(policy, name)) for name in counts]
    spans = [_Rule(name, after=beginning(span), suffix=f"within {span}") for name, span in policy._spans() if span]
    return counted, spans, beginning(policy.within)

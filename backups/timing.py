"""When a schedule runs.  Pure: zones, changes of the clock, catch-up, jitter and windows, with no row and no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

Frequency = Literal["hourly", "daily", "weekly", "monthly", "custom", "manual"]
EVERY = (1, 2, 3, 4, 6, 8, 12)
"""How many hours may lie between the runs of an hourly rule: they divide the day."""
CLOSEST = timedelta(minutes=5)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Timing:
    """The rule of a schedule.

    ``hour`` and ``minute`` are in ``zone``; ``weekday`` 0 is Monday; ``day`` 1 to 28; ``every`` hours lie between the
    runs of an hourly rule; ``custom`` is a cron expression of five fields.  A ``manual`` rule has no runs of its own.
    ``jitter`` moves each run by up to so many minutes, the same for a given ``seed`` and moment.  ``window`` (minutes,
    0 = none) is how long after its moment a run may still start.  ValueError, with a sentence, for the impossible.
    """

    frequency: Frequency
    hour: int = 0
    minute: int = 0
    weekday: int = 0
    day: int = 1
    every: int = 1
    custom: str = ""
    zone: str = "UTC"
    jitter: int = 0
    window: int = 0
    seed: str = ""

    def __post_init__(self) -> None:
        if not (0 <= self.hour <= 23 and 0 <= self.minute <= 59 and 0 <= self.weekday <= 6 and 1 <= self.day <= 28):
            raise ValueError("Hour 0 to 23, minute 0 to 59 and day 1 to 28 are possible.")
        if self.every not in EVERY:
            raise ValueError("Choose 1, 2, 3, 4, 6, 8 or 12 hours: they divide the day.")
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError):
            raise ValueError("There is no such time zone; write one like Europe/Berlin.") from None
        if self.frequency == "custom":
            _check_custom(self.custom)

    def cron(self) -> str:
        """Return the rule as a cron expression."""
        if self.frequency == "custom":
            return self.custom
        if self.frequency == "hourly":
            return f"{self.minute} {'*' if self.every == 1 else f'*/{self.every}'} * * *"
        at = f"{self.minute} {self.hour}"
        if self.frequency == "weekly":
            return f"{at} * * {(self.weekday + 1) % 7}"
        return f"{at} {self.day} * *" if self.frequency == "monthly" else f"{at} * * *"


def _check_custom(text: str) -> None:
    """Refuse what is no rule, never comes, or comes more often than a backup should."""
    if len(text.split()) != 5:
        raise ValueError("Write five fields: minute, hour, day of month, month, day of week.")
    try:
        runs = list(islice(CronSim(text, datetime(2026, 1, 1, tzinfo=UTC)), 60))
    except CronSimError as error:
        raise ValueError(f"This is not a rule: {error}.") from None
    if not runs:
        raise ValueError("This rule never comes true.")
    if any(later - earlier < CLOSEST for earlier, later in pairwise(runs)):
        raise ValueError("Runs must lie at least 5 minutes apart.")


def moments(timing: Timing, after: datetime) -> Iterator[datetime]:
    """Yield the moments of the rule after ``after``, in UTC and without jitter.

    A time that a change of the clock skips runs right after it; one that comes twice runs once.
    """
    zone = ZoneInfo(timing.zone)
    for local in CronSim(timing.cron(), after.astimezone(zone)):
        moment = local.astimezone(UTC)
        if moment > after:
            yield moment


def shifted(timing: Timing, moment: datetime) -> datetime:
    """Return ``moment`` moved by the jitter that belongs to it."""
    if not timing.jitter:
        return moment
    digest = hashlib.sha256(f"{timing.seed}|{moment.isoformat()}".encode()).digest()
    return moment + timedelta(seconds=int.from_bytes(digest[:4]) % (timing.jitter * 60 + 1))


def next_run(timing: Timing, after: datetime) -> datetime | None:
    """Return the next moment, jitter included, that is later than ``after``; None for a rule without runs."""
    if timing.frequency == "manual":
        return None
    reach = timedelta(minutes=timing.jitter)
    for moment in moments(timing, after - reach - timedelta(seconds=1)):
        run = shifted(timing, moment)
        if run > after:
            return run
    return None


def next_runs(timing: Timing, after: datetime, count: int = 5) -> list[datetime]:
    """Return the next ``count`` runs."""
    runs: list[datetime] = []
    while len(runs) < count and (run := next_run(timing, after)) is not None:
        runs.append(run)
        after = run
    return runs


@dataclass(frozen=True, slots=True)
class Due:
    """What to do about a schedule whose moment has come: start it or not, and when it is due next.

    ``missed`` says that the run is not started although its moment has passed.
    """

    start: bool
    missed: bool
    next_run_at: datetime | None


def decide(timing: Timing, due_at: datetime, now: datetime, *, catch_up: bool, tolerance: timedelta) -> Due:
    """Decide about a run that was due at ``due_at``.

    Within ``tolerance`` it simply starts.  Later it is caught up once, however many were missed, if ``catch_up`` says
    so and the window, if any, is still open.
    """
    following = next_run(timing, now)
    late = now - due_at
    if late <= tolerance:
        return Due(True, False, following)
    open_still = not timing.window or late <= timedelta(minutes=timing.window)
    start = catch_up and open_still
    return Due(start, not start, following)


def sentence(timing: Timing, *, twelve: bool = True) -> str:
    """Return the rule in words: ``Daily, 3:00 AM``."""
    match timing.frequency:
        case "manual":
            return "By hand"
        case "custom":
            return f"Custom: {timing.custom}"
        case "hourly":
            pace = "Hourly" if timing.every == 1 else f"Every {timing.every} hours"
            return f"{pace}, at :{timing.minute:02}"
    at = time_of_day(timing.hour, timing.minute, twelve=twelve)
    if timing.frequency == "weekly":
        return f"{WEEKDAYS[timing.weekday][:3]}, {at}"
    return f"Day {timing.day}, {at}" if timing.frequency == "monthly" else f"Daily, {at}"


def spoken(timing: Timing, *, twelve: bool = True) -> str:
    """Return the rule as the beginning of a sentence: ``Every day at 3:00 AM``."""
    at = time_of_day(timing.hour, timing.minute, twelve=twelve)
    match timing.frequency:
        case "manual":
            return "When you start it by hand"
        case "custom":
            return f"By the rule {timing.custom}"
        case "hourly":
            pace = "Every hour" if timing.every == 1 else f"Every {timing.every} hours"
            return f"{pace} at :{timing.minute:02}"
        case "weekly":
            return f"Every {WEEKDAYS[timing.weekday]} at {at}"
        case "monthly":
            return f"On day {timing.day} of every month at {at}"
    return f"Every day at {at}"


def time_of_day(hour: int, minute: int, *, twelve: bool = True) -> str:
    """Return a time of day as people write it."""
    return f"{hour % 12 or 12}:{minute:02} {'AM' if hour < 12 else 'PM'}" if twelve else f"{hour:02}:{minute:02}"


def changes_clock(timing: Timing, now: datetime) -> bool:
    """Return whether the zone changes its clock within the next year."""
    zone = ZoneInfo(timing.zone)
    offsets = {(now + timedelta(days=30 * month)).astimezone(zone).utcoffset() for month in range(13)}
    return len(offsets) > 1

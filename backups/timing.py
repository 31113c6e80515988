"""When a schedule runs.  Pure: zones, changes of the clock, catch-up, jitter and windows, with no row and no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim

Frequency = Literal["hourly", "daily", "weekly", "monthly"]
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Timing:
    """The rule of a schedule.

    ``hour`` and ``minute`` are in ``zone``; ``weekday`` 0 is Monday; ``day`` 1 to 28.  ``jitter`` moves each run by up
    to so many minutes, the same for a given ``seed`` and moment.  ``window`` (minutes, 0 = none) is how long after its
    moment a run may still start.
    """

    frequency: Frequency
    hour: int = 0
    minute: int = 0
    weekday: int = 0
    day: int = 1
    zone: str = "UTC"
    jitter: int = 0
    window: int = 0
    seed: str = ""

    def __post_init__(self) -> None:
        if not (0 <= self.hour <= 23 and 0 <= self.minute <= 59 and 0 <= self.weekday <= 6 and 1 <= self.day <= 28):
            raise ValueError("hour 0-23, minute 0-59, weekday 0-6 and day 1-28 are possible")
        ZoneInfo(self.zone)

    def cron(self) -> str:
        """Return the rule as a cron expression."""
        if self.frequency == "hourly":
            return f"{self.minute} * * * *"
        at = f"{self.minute} {self.hour}"
        if self.frequency == "weekly":
            return f"{at} * * {(self.weekday + 1) % 7}"
        return f"{at} {self.day} * *" if self.frequency == "monthly" else f"{at} * * *"


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


def next_run(timing: Timing, after: datetime) -> datetime:
    """Return the next moment, jitter included, that is later than ``after``."""
    reach = timedelta(minutes=timing.jitter)
    for moment in moments(timing, after - reach - timedelta(seconds=1)):
        run = shifted(timing, moment)
        if run > after:
            return run
    raise AssertionError("a rule has no end")


def next_runs(timing: Timing, after: datetime, count: int = 5) -> list[datetime]:
    """Return the next ``count`` runs."""
    runs: list[datetime] = []
    while len(runs) < count:
        after = next_run(timing, after)
        runs.append(after)
    return runs


@dataclass(frozen=True, slots=True)
class Due:
    """What to do about a schedule whose moment has come: start it or not, and when it is due next.

    ``missed`` says that the run is not started although its moment has passed.
    """

    start: bool
    missed: bool
    next_run_at: datetime


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
    if timing.frequency == "hourly":
        return f"Hourly, at :{timing.minute:02}"
    at = f"{timing.hour % 12 or 12}:{timing.minute:02} {'AM' if timing.hour < 12 else 'PM'}"
    at = at if twelve else f"{timing.hour:02}:{timing.minute:02}"
    if timing.frequency == "weekly":
        return f"{WEEKDAYS[timing.weekday][:3]}, {at}"
    return f"Day {timing.day}, {at}" if timing.frequency == "monthly" else f"Daily, {at}"

"""Instants as the repository writes them: RFC 3339 with nanoseconds, in the zone of the process that wrote them.

Inside the engine an instant is an ``int``: nanoseconds since 1970-01-01T00:00:00Z.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from backups.engine.errors import BadRequest, Corrupt
from backups.engine.native import load

NANOSECONDS = 1_000_000_000

_DAY = 86_400
_EPOCH = date(1970, 1, 1).toordinal()
_CYCLE_DAYS = 146_097  # the calendar, weekdays included, repeats every 400 years
_CYCLE = _CYCLE_DAYS * _DAY
_CACHE_LIMIT = 1 << 16

# Instants a zone can be asked about, about the years 1000 to 9900.  Before, local mean time holds; after, rules repeat.
_FIRST, _LAST = -30_000_000_000, 250_000_000_000

_MINUTES = [f"{minute // 60:02d}:{minute % 60:02d}:" for minute in range(1440)]

OffsetAt = Callable[[int], int]
_format_time: Callable[[int, int], str | None] | None = getattr(load("backups.engine._nodes"), "format_time", None)
K = TypeVar("K")
V = TypeVar("V")


def _remember(cache: dict[K, V], key: K, value: V) -> V:
    if len(cache) >= _CACHE_LIMIT:
        cache.clear()
    cache[key] = value
    return value


class TimeFormatter:
    """Writes instants in one zone: ``"UTC"``, a zone of the system's database, or ``None`` for the process's own.

    Raises ``BadRequest`` for a zone that does not exist.
    """

    def __init__(self, zone: str | None = None) -> None:
        self._offset_at = _local_zone() if zone is None else _named_zone(zone)
        self.is_utc = self._offset_at is _utc
        """Whether the offset is always none."""
        self._seconds: dict[int, tuple[str, str]] = {}
        self._offsets: dict[int, int | None] = {}
        self._days: dict[int, str] = {}

    def format(self, instant: int) -> str:
        """The text of an instant.  Years before 0 or after 9999 become 0 or 9999, as they have no text."""
        if _format_time is not None:
            try:
                text = _format_time(instant, self.offset(instant))
            except OverflowError:
                text = None
            if text is not None:
                return text
        return self.format_slowly(instant)

    def offset(self, instant: int) -> int:
        """The seconds by which the zone's clocks are ahead of UTC at an instant."""
        return 0 if self.is_utc else self._offset(instant // NANOSECONDS)

    def format_slowly(self, instant: int) -> str:
        """The same as :meth:`format`, without the native part."""
        seconds, nanoseconds = divmod(instant, NANOSECONDS)
        try:
            clock, offset = self._seconds[seconds]
        except KeyError:
            clock, offset = _remember(self._seconds, seconds, self._write(seconds))
        if not nanoseconds:
            return clock + offset
        return f"{clock}.{nanoseconds:09d}".rstrip("0") + offset

    def _write(self, seconds: int) -> tuple[str, str]:
        offset = self._offset(seconds)
        day, within = divmod(seconds + offset, _DAY)
        text = self._days.get(day)
        if text is None:
            civil, year = _civil(day)
            if not 0 <= year <= 9999:
                return self._write(self._moved(civil, 0 if year < 0 else 9999, within))
            text = _remember(self._days, day, f"{year:04d}-{civil.month:02d}-{civil.day:02d}T")
        minute, second = divmod(within, 60)
        return f"{text}{_MINUTES[minute]}{second:02d}", offset_text(offset)

    def _offset(self, seconds: int) -> int:
        """The zone's offset, asked for once a day unless it changes on that day."""
        day = seconds // _DAY
        try:
            offset = self._offsets[day]
        except KeyError:
            first = self._offset_at(_askable(day * _DAY))
            last = self._offset_at(_askable(day * _DAY + _DAY - 1))
            offset = _remember(self._offsets, day, first if first == last else None)
        return self._offset_at(_askable(seconds)) if offset is None else offset

    def _moved(self, civil: date, year: int, within: int) -> int:
        """The instant of the same month, day and clock in another year; 29 February may become 1 March."""
        wall = (day_number(year, civil.month, 1) + civil.day - 1) * _DAY + within
        guess = self._offset_at(_askable(wall))
        return wall - self._offset_at(_askable(wall - guess))


def _civil(day: int) -> tuple[date, int]:
    """Month and day of a day counted from 1970, in a date of the first cycle, and the true year."""
    cycles, day_of_cycle = divmod(day + _EPOCH - 1, _CYCLE_DAYS)
    civil = date.fromordinal(day_of_cycle + 1)
    return civil, civil.year + 400 * cycles


def day_number(year: int, month: int, day: int) -> int:
    """Days since 1970 of a date; unlike ``date`` it knows the year 0.  Raises ``ValueError``."""
    return date(year % 400 + 400, month, day).toordinal() + (year // 400 - 1) * _CYCLE_DAYS - _EPOCH


@functools.lru_cache(maxsize=128)
def offset_text(offset: int) -> str:
    """A zone's offset in seconds as text: ``Z`` for none, else cut to whole minutes."""
    if offset == 0:
        return "Z"
    hours, minutes = divmod(abs(offset) // 60, 60)
    return f"{'-' if offset <= -60 else '+'}{hours:02d}:{minutes:02d}"


def _askable(seconds: int) -> int:
    if seconds > _LAST:
        return _LAST - _CYCLE + (seconds - _LAST) % _CYCLE
    return max(seconds, _FIRST)


def _utc(_: int) -> int:
    return 0


def _process_zone(seconds: int) -> int:
    return time.localtime(seconds).tm_gmtoff


def _named_zone(name: str) -> OffsetAt:
    if name == "UTC":
        return _utc
    import zoneinfo  # rarely used, and slow to import

    try:
        zone = zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise BadRequest(f"there is no time zone {name!r} on this system") from None

    def offset_at(seconds: int) -> int:
        offset = datetime.fromtimestamp(seconds, zone).utcoffset()
        return 0 if offset is None else offset // timedelta(seconds=1)

    return offset_at


def _local_zone() -> OffsetAt:
    """The zone a Go program would take: TZ names a zone or a file but is never a POSIX rule, which counts as UTC."""
    name = os.environ.get("TZ")
    if name is None or name.removeprefix(":").startswith("/"):
        return _process_zone
    try:
        return _named_zone(name.removeprefix(":") or "UTC")
    except BadRequest:
        return _utc


_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII).fullmatch
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)", re.ASCII).fullmatch
_SIXTY = {f"{number:02d}": number for number in range(60)}
_clocks: dict[str, int] = {}
_midnights: dict[str, int] = {}
_offsets: dict[str, int] = {"Z": 0}


def parse_time(text: str) -> int:
    """The instant of an RFC 3339 text; digits beyond the ninth of a fraction are dropped.  Raises ``Corrupt``."""
    try:
        clock = _clocks[text[:19]]
    except KeyError:
        clock = _parse_clock(text)
    rest = text[19:]
    zone = "Z" if rest.endswith("Z") else rest[-6:]
    try:
        clock -= _offsets[zone]
    except KeyError:
        clock -= _parse_offset(text, zone)
    if len(rest) == len(zone):
        return clock * NANOSECONDS
    point, digits = rest[0], rest[1 : -len(zone)]
    if point != "." or not (digits.isdigit() and digits.isascii()):
        raise _bad_time(text)
    return clock * NANOSECONDS + int(digits[:9].ljust(9, "0"))


def zone_of(text: str) -> int:
    """The offset, in seconds, an RFC 3339 text was written with.  Raises ``Corrupt``."""
    parse_time(text)
    return _offsets["Z" if text.endswith("Z") else text[-6:]]


def clock_of(text: str) -> datetime:
    """The wall clock an RFC 3339 text shows: whole seconds, no zone.  Raises ``Corrupt``, for the year 0 too."""
    parse_time(text)
    try:
        return datetime.fromisoformat(text[:19])
    except ValueError:
        raise _bad_time(text) from None


def _parse_clock(text: str) -> int:
    day = text[:10]
    try:
        midnight = _midnights[day] if day in _midnights else _remember(_midnights, day, _parse_day(day))
        within = _SIXTY[text[11:13]] * 3600 + _SIXTY[text[14:16]] * 60 + _SIXTY[text[17:19]]
    except (KeyError, ValueError):
        raise _bad_time(text) from None
    if text[10] != "T" or text[13] != ":" or text[16] != ":" or within >= _DAY:
        raise _bad_time(text)
    return _remember(_clocks, text[:19], midnight + within)


def _parse_day(day: str) -> int:
    match = _DATE(day)
    if match is None:
        raise ValueError(day)
    year, month, day_of_month = map(int, match.groups())
    return day_number(year, month, day_of_month) * _DAY


def _parse_offset(text: str, zone: str) -> int:
    match = _OFFSET(zone)
    if match is None or match[2] > "23" or match[3] > "59":
        raise _bad_time(text)
    seconds = int(match[2]) * 3600 + int(match[3]) * 60
    return _remember(_offsets, zone, -seconds if match[1] == "-" else seconds)


def _bad_time(text: str) -> Corrupt:
    return Corrupt(f"not a time: {text[:40]!a}", kind="time")


def now_text() -> str:
    """Return the present moment as RFC 3339 text in UTC with nanoseconds."""
    ns = time.time_ns()
    stamp = datetime.fromtimestamp(ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{ns % 1_000_000_000:09d}Z"

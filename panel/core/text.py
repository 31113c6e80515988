"""Sizes, times and durations as people read them."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def size(count: float | None) -> str:
    """Return a number of bytes with three digits and a decimal unit: ``18.4 KB``."""
    if count is None:
        return "—"
    value = float(count)
    for unit in _UNITS:
        if abs(value) < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1000
    if unit == "B":
        return f"{int(value)} B"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def duration(seconds: float | None) -> str:
    """Return a length of time: ``48 s``, ``47 min 12 s``, ``1 h 12 min``, ``64 days``."""
    if seconds is None:
        return "—"
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    if whole < 48 * 3600:
        minutes = whole % 3600 // 60
        return f"{whole // 3600} h {minutes} min" if minutes else f"{whole // 3600} h"
    return f"{whole // 86400} days"


def ago(moment: datetime, now: datetime) -> str:
    """Return the distance to now: ``12 s ago``, ``in 33 min``."""
    seconds = (now - moment).total_seconds()
    distance = abs(seconds)
    if distance < 60:
        text = f"{int(distance)} s"
    elif distance < 3600:
        text = f"{int(distance // 60)} min"
    elif distance < 48 * 3600:
        text = f"{int(distance // 3600)} h"
    else:
        text = f"{int(distance // 86400)} days"
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def clock(moment: datetime, *, twelve: bool = True) -> str:
    """Return the time of day."""
    if not twelve:
        return moment.strftime("%H:%M")
    return f"{moment.hour % 12 or 12}:{moment.minute:02} {'AM' if moment.hour < 12 else 'PM'}"


def moment_text(moment: datetime, now: datetime, zone: tzinfo, *, twelve: bool = True) -> str:
    """Return a moment in words: ``Today, 3:00 AM``, ``Thursday, 3:00 AM``, ``Nov 14, 3:00 AM``, ``Jan 8, 2025``."""
    local, today = moment.astimezone(zone), now.astimezone(zone).date()
    days = (today - local.date()) // timedelta(days=1)
    at = clock(local, twelve=twelve)
    if days in (-1, 0, 1):
        return f"{ {-1: 'Tomorrow', 0: 'Today', 1: 'Yesterday'}[days] }, {at}"
    if -7 < days < 7:
        return f"{local:%A}, {at}"
    if local.year == today.year:
        return f"{local:%b} {local.day}, {at}"
    return f"{local:%b} {local.day}, {local.year}"


def count(number: int, word: str, plural: str = "") -> str:
    """Return a count with its word: ``1 account``, ``2,119 files``."""
    return f"{number:,} {word if number == 1 else plural or word + 's'}"

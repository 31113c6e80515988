"""How the backups of past days ended, in sums: months of them are some rows, however many jobs there were.

A day of UTC gets its row when it is over; what has none is counted from the jobs.  Sums are by quarter of an hour, as
the days of every time zone begin with one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from time import monotonic

from django.db.models import Count, IntegerField, Value
from django.db.models.functions import ExtractHour, ExtractMinute, Floor, TruncDate

from worker.models import BackupDay, Job
from worker.states import ENDED, Kind

KEPT_DAYS = 140
_QUARTER, _QUARTERS, _DAY = timedelta(minutes=15), 96, timedelta(days=1)
_OVER = timedelta(hours=1)
"""So long after its end a day is summed up: what ended in it is stored by then."""
_TOGETHER, _SECONDS = 14, 0.3


def days_tick(moment: datetime) -> int:
    """Sum up days that are over, the oldest first and for a moment only; return how many.

    Rows of days that are not over go: they are of a clock that ran ahead.
    """
    last = (moment - _OVER).astimezone(UTC).date() - _DAY
    wanted = [last - number * _DAY for number in reversed(range(KEPT_DAYS))]
    known = set(BackupDay.objects.values_list("day", flat=True))
    if wrong := known.difference(wanted):
        BackupDay.objects.filter(day__in=wrong).delete()
    missing = [day for day in wanted if day not in known]
    began, done = monotonic(), 0
    while done < len(missing) and monotonic() - began < _SECONDS:
        some = missing[done : done + _TOGETHER]
        BackupDay.objects.bulk_create(_summed(some), ignore_conflicts=True)
        done += len(some)
    return done


def days_forget(before: datetime) -> None:
    """Let days be counted again whose jobs were removed."""
    BackupDay.objects.filter(day__lte=before.astimezone(UTC).date()).delete()


def backups_ended(begin: datetime, zone: tzinfo) -> tuple[dict[date, Counter[str]], datetime]:
    """Return how backups ended from a moment on, by day of ``zone`` and by state, and the moment up to which that is
    known.
    """
    days: dict[date, Counter[str]] = defaultdict(Counter)
    day = begin.astimezone(UTC).date()
    for row in BackupDay.objects.filter(day__gte=day).order_by("day"):
        if row.day != day:
            break
        for on, first, after in _parts(day, begin, zone):
            for state, quarters in row.ended.items():
                if many := sum(quarters[first:after]):
                    days[on][state] += many
        day += _DAY
    return days, max(begin, _midnight(day, UTC))


def _parts(day: date, begin: datetime, zone: tzinfo) -> Iterator[tuple[date, int, int]]:
    """Yield the days of ``zone`` that a day of UTC has part in, each with its first quarter and the one after it."""
    start = _midnight(day, UTC)
    place = max(0, (begin - start) // _QUARTER)
    while place < _QUARTERS:
        on = (start + place * _QUARTER).astimezone(zone).date()
        after = min(_QUARTERS, (_midnight(on + _DAY, zone) - start) // _QUARTER)
        yield on, place, max(after, place + 1)
        place = max(after, place + 1)


def _summed(days: list[date]) -> list[BackupDay]:
    ended: dict[date, dict[str, list[int]]] = {day: defaultdict(lambda: [0] * _QUARTERS) for day in days}
    jobs = Job.objects.filter(finished_at__gte=_midnight(days[0], UTC), finished_at__lt=_midnight(days[-1] + _DAY, UTC))
    jobs = jobs.filter(kind=Kind.BACKUP, state__in=ENDED).order_by()
    at = "finished_at"
    part = Floor(ExtractMinute(at, tzinfo=UTC) / Value(15.0), output_field=IntegerField())
    rows = jobs.annotate(on=TruncDate(at, tzinfo=UTC), hour=ExtractHour(at, tzinfo=UTC), part=part)
    rows = rows.values_list("on", "hour", "part", "state").annotate(many=Count("*"))
    for on, hour, part, state, many in rows:
        if on in ended:
            ended[on][state][4 * hour + int(part)] = many
    return [BackupDay(day=day, ended=states) for day, states in ended.items()]


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)

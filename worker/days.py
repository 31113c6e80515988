"""How the backups of past days ended, in sums: months of them are some rows, however many jobs there were.

A day of UTC gets its row when it is over; what has none is counted from the jobs.  Sums are by quarter of an hour, as
the days of every time zone begin with one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta, tzinfo
from time import monotonic

from worker.models import BackupDay, Job
from worker.states import ENDED, Kind

KEPT_DAYS = 140
_QUARTER, _DAY = timedelta(minutes=15), timedelta(days=1)
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
        for quarter, states in row.ended.items():
            at = _midnight(day) + int(quarter) * _QUARTER
            if at >= begin:
                days[at.astimezone(zone).date()].update(states)
        day += _DAY
    return days, max(begin, _midnight(day))


def _summed(days: list[date]) -> list[BackupDay]:
    ended: dict[date, dict[int, Counter[str]]] = {day: defaultdict(Counter) for day in days}
    jobs = Job.objects.filter(finished_at__gte=_midnight(days[0]), finished_at__lt=_midnight(days[-1] + _DAY))
    jobs = jobs.filter(kind=Kind.BACKUP, state__in=ENDED).order_by()
    for at, state in jobs.values_list("finished_at", "state").iterator():
        moment = at.astimezone(UTC)
        if (quarters := ended.get(moment.date())) is not None:
            quarters[4 * moment.hour + moment.minute // 15][state] += 1
    return [BackupDay(day=day, ended=quarters) for day, quarters in ended.items()]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)

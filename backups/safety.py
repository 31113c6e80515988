"""Reading for the overview: is everybody safe?  Every number comes from an index, however many rows there are."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from django.core.cache import cache
from django.db.models import CharField, Count, Exists, F, Max, OuterRef, Q, Value
from django.db.models.functions import Cast, Concat, TruncDate

from backups.models import Schedule, Snapshot
from panel.accounts.models import Account
from worker.days import backups_ended
from worker.models import Event, Job, JobItem
from worker.states import ENDED, LIVE, Kind

SAFE_HOURS, PROOF_DAYS = 48, 30
WEEKS = 18
_LISTED = 8
_REMEMBERED_SECONDS = 300
_WORST = ("failed", "overdue", "partial", "warning", "aborted", "success", "skipped")


def safety_of(viewer: Any, now: datetime) -> dict[str, Any]:
    """Return how many of a viewer's accounts are safe: those with a whole snapshot younger than 48 hours.

    ``waiting`` lists some that are not, ``urgent`` the accounts to look at first, each with ``is_safe``, ``last_good``
    and ``last_proven``.
    """
    accounts = Account.objects.visible_to(viewer).living()
    recent = _good().filter(taken_at__gte=now - timedelta(hours=SAFE_HOURS))
    proven = _good().filter(proven_at__gte=now - timedelta(days=PROOF_DAYS))
    total, many_safe, many_fresh = _counts(accounts, recent, now)
    mine = Exists(recent.filter(account=OuterRef("pk")))
    waiting = list(accounts.filter(~mine).order_by("name", "id")[:_LISTED]) if many_safe < total else []
    rest = _least_proven(accounts.filter(mine), proven, _LISTED - len(waiting))
    _add_last(waiting, is_safe=False)
    _add_last(rest, is_safe=True)
    return {
        "total": total,
        "safe": many_safe,
        "unsafe": total - many_safe,
        "day": many_fresh,
        "proven": proven.filter(account__in=accounts.order_by()).aggregate(many=Count("account", distinct=True))[
            "many"
        ],
        "waiting": waiting,
        "urgent": waiting + rest,
    }


def damaged_of(viewer: Any) -> dict[str, Any]:
    """Return how many damaged snapshots there are, and some of them."""
    rows = Snapshot.objects.visible_to(viewer).present().exclude(damaged_at=None).order_by("-damaged_at")
    return {
        "damaged": rows.count(),
        "damaged_ones": list(rows.select_related("account", "repository__destination")[:3]),
    }


def proofs_of(viewer: Any) -> list[Snapshot]:
    """Return the restores that were proven last."""
    rows = Snapshot.objects.visible_to(viewer).exclude(proven_at=None).select_related("account")
    return list(rows.order_by("-proven_at")[:6])


def heat_map(viewer: Any, now: datetime, zone: tzinfo) -> dict[date, dict[str, int]]:
    """Return how the backups of each of the last days ended: counts by result, ``overdue`` among them.

    Days are those of ``zone``.  Customers' days before today are remembered for five minutes.
    """
    today = now.astimezone(zone).date()
    begin, end = _midnight(today - timedelta(days=7 * WEEKS), zone), now + timedelta(minutes=1)
    if viewer.is_admin:
        days, until = backups_ended(begin, zone)
        for day, results in _ended(viewer, until, end, zone).items():
            days[day].update(results)
    else:
        days, until = _remembered(viewer, begin, _midnight(today, zone), zone), _midnight(today, zone)
        days |= _ended(viewer, until, end, zone)
    found = {day: dict(results) for day, results in days.items()}
    for day, many in _missed(viewer, begin, end, zone).items():
        found.setdefault(day, {})["overdue"] = many
    return found


def worst_of(results: dict[str, int]) -> str:
    """Return the result that a day is shown with; empty if nothing ran."""
    return next((state for state in _WORST if results.get(state)), "")


def _remembered(viewer: Any, begin: datetime, end: datetime, zone: tzinfo) -> dict[date, Counter[str]]:
    key = f"heat:{viewer.pk}:{zone}:{end.isoformat()}"
    past: dict[date, Counter[str]] | None = cache.get(key)
    if past is None:
        past = _ended(viewer, begin, end, zone)
        cache.set(key, past, _REMEMBERED_SECONDS)
    return past


def _ended(viewer: Any, begin: datetime, end: datetime, zone: tzinfo) -> dict[date, Counter[str]]:
    """Count what ended: a viewer's jobs, and for customers how those of the entire server ended for their accounts."""
    days: dict[date, Counter[str]] = defaultdict(Counter)
    counted = [Job.objects.visible_to(viewer).filter(kind=Kind.BACKUP)]
    if not viewer.is_admin:
        counted.append(_in_runs_of_the_server(viewer, begin))
    for found in counted:
        rows = found.filter(finished_at__gte=begin, finished_at__lt=end, state__in=ENDED).order_by()
        rows = rows.annotate(on=TruncDate("finished_at", tzinfo=zone)).values("on", "state").annotate(many=Count("*"))
        for row in rows:
            days[row["on"]][row["state"]] += row["many"]
    return days


def _in_runs_of_the_server(viewer: Any, begin: datetime) -> Any:
    """Return the items of a viewer's accounts in backups of the entire server that went on after a moment."""
    mine = Account.objects.visible_to(viewer).filter(package__server_backups=True).order_by()
    late = Q(finished_at__gte=begin) | Q(finished_at=None, state__in=LIVE)
    runs = list(Job.objects.filter(late, kind=Kind.BACKUP, account=None).order_by().values_list("pk", flat=True))
    # Nothing to look up by: such runs have an item of everybody's, and the accounts are few.
    return JobItem.objects.filter(account__in=mine).annotate(run=F("job") + 0).filter(run__in=runs)


def _missed(viewer: Any, begin: datetime, end: datetime, zone: tzinfo) -> Counter[date]:
    missed = Event.objects.filter(kind="schedule.overdue", at__gte=begin, at__lt=end)
    if not viewer.is_admin:
        own = Schedule.objects.visible_to(viewer).order_by()
        subjects = own.annotate(subject=Concat(Value("schedule:"), Cast("pk", CharField())))
        missed = missed.filter(subject__in=subjects.values("subject"))
    return Counter(at.astimezone(zone).date() for at in missed.values_list("at", flat=True))


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def _good() -> Any:
    return Snapshot.objects.good().order_by()


def _counts(accounts: Any, recent: Any, now: datetime) -> tuple[int, int, int]:
    """Return how many accounts there are, how many have a recent snapshot, and how many one of the last day.

    The recent snapshots are gone through once; to look each account up costs several times as much.
    """
    newest = recent.filter(account__in=accounts.order_by()).values("account").annotate(newest=Max("taken_at"))
    sums = newest.aggregate(
        safe=Count("account"), fresh=Count("account", filter=Q(newest__gte=now - timedelta(hours=24)))
    )
    return accounts.count(), sums["safe"], sums["fresh"]


def _least_proven(accounts: Any, proven: Any, wanted: int) -> list[Any]:
    """Return some accounts by name, those first whose restore nobody proved lately."""
    shown = Exists(proven.filter(account=OuterRef("pk")))
    found = list(accounts.filter(~shown).order_by("name", "id")[:wanted]) if wanted else []
    missing = wanted - len(found)
    return found + (list(accounts.filter(shown).order_by("name", "id")[:missing]) if missing else [])


def _add_last(accounts: list[Any], *, is_safe: bool) -> None:
    rows = _good().filter(account__in=accounts).values("account")
    rows = rows.annotate(good=Max("taken_at"), proven=Max("proven_at")) if accounts else []
    last = {row["account"]: (row["good"], row["proven"]) for row in rows}
    for account in accounts:
        account.is_safe = is_safe
        account.last_good, account.last_proven = last.get(account.pk, (None, None))

"""Making, changing and starting schedules."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import OperationalError, transaction

from backups.keys import fingerprint, new_key, schedule_place, sealer
from backups.models import CatchUp, MarkedWhy, Overlap, Repository, Schedule, Snapshot, SnapshotKind
from backups.selectors import timing_of
from backups.services.own_storage import OwnStorage, own_storage_of, own_storage_save
from backups.timing import decide, next_run
from destinations.models import Destination
from panel.accounts.models import Account, AccountStatus, Server
from panel.audit.services import record
from panel.core.errors import Conflict, Invalid, NotAllowed
from panel.options.selectors import option
from worker.beats import went_back
from worker.clock import now
from worker.enqueue import ItemRequest, ItemsRequest, JobRequest, job_enqueue, jobs_enqueue
from worker.models import Event, Job
from worker.states import LIVE, Kind, State

TOLERANCE = timedelta(minutes=5)
_TICK_SECONDS, _AT_ONCE, _TOGETHER = 1.0, 500, 100
_log = logging.getLogger(__name__)
_FIELDS = (
    "name", "scope", "frequency", "hour", "minute", "weekday", "day", "every", "cron", "zone", "jitter", "window",
    "grace", "catch_up", "overlap", "priority", "retention", "excludes", "is_enabled",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScheduleData:
    """What a form or a caller says of a schedule; ``account`` None = the entire server, ``own`` None = as it is."""

    server: Server
    account: Account | None
    destinations: Sequence[Destination]
    values: dict[str, Any] = field(default_factory=dict)
    own: OwnStorage | None = None


def schedule_create(data: ScheduleData, *, actor: Any) -> Schedule:
    """Store a new schedule with a new key.  NotAllowed, Invalid."""
    _check(data, actor, None)
    key, moment = new_key(), now()
    with transaction.atomic():
        schedule = Schedule(server=data.server, account=data.account, created_by=actor)
        _assign(schedule, data)
        schedule.key_fingerprint, schedule.key_made_at = fingerprint(key), moment
        schedule.save()
        schedule.sealed_key = sealer().seal(schedule_place(schedule.pk), key)
        schedule.next_run_at = next_run(timing_of(schedule), moment)
        schedule.save(update_fields=["sealed_key", "next_run_at"])
        _set_places(schedule, data, actor)
        record("schedule.created", actor=actor, subject=f"schedule:{schedule.pk}", name=schedule.name)
    return schedule


def schedule_update(schedule: Schedule, data: ScheduleData, *, actor: Any) -> None:
    """Change a schedule; its mode and account stay.  NotAllowed, Invalid."""
    _check(data, actor, schedule)
    if (schedule.account_id or 0) != (data.account.pk if data.account else 0):
        raise Conflict("A schedule keeps its accounts; make another one.")
    with transaction.atomic():
        _assign(schedule, data)
        schedule.next_run_at = next_run(timing_of(schedule), now())
        schedule.overdue_since = None
        schedule.save(update_fields=[*_FIELDS, "next_run_at", "overdue_since"])
        _set_places(schedule, data, actor)
        record("schedule.changed", actor=actor, subject=f"schedule:{schedule.pk}", name=schedule.name)


def schedule_toggle(schedule: Schedule, *, actor: Any) -> bool:
    """Switch a schedule on or off; returns what it is now.  Switched on, it waits for its next moment."""
    enabled = not schedule.is_enabled
    due = next_run(timing_of(schedule), now())
    Schedule.objects.filter(pk=schedule.pk).update(is_enabled=enabled, next_run_at=due, overdue_since=None)
    record("schedule.enabled" if enabled else "schedule.disabled", actor=actor, subject=f"schedule:{schedule.pk}")
    return enabled


def schedule_delete(schedule: Schedule, *, actor: Any, with_snapshots: bool = False) -> int:
    """Take a schedule off the list; its key stays, and its snapshots do.

    ``with_snapshots`` marks them instead: the next cleanup after the hold time removes them, until then they can be
    brought back.  Locked ones and safety snapshots stay in any case.  Returns how many were marked.
    """
    moment, marked = now(), 0
    with transaction.atomic():
        Schedule.objects.filter(pk=schedule.pk, deleted_at=None).update(deleted_at=moment, is_enabled=False)
        if with_snapshots:
            own = Snapshot.objects.present().filter(schedule=schedule, marked_at=None)
            free = own.exclude(kind=SnapshotKind.SAFETY).exclude(locked_until__gt=moment)
            marked = free.update(marked_at=moment, marked_why=MarkedWhy.SCHEDULE)
        subject = f"schedule:{schedule.pk}"
        record("schedule.deleted", actor=actor, subject=subject, name=schedule.name, snapshots_marked=marked)
    return marked


def schedule_undelete(schedule: Schedule, *, actor: Any) -> int:
    """Bring a deleted schedule back, disabled, with the snapshots that went with it; returns how many those are."""
    with transaction.atomic():
        Schedule.objects.filter(pk=schedule.pk).update(deleted_at=None)
        marked = Snapshot.objects.present().filter(schedule=schedule, marked_why=MarkedWhy.SCHEDULE)
        back = marked.update(marked_at=None, marked_why="")
        record("schedule.brought_back", actor=actor, subject=f"schedule:{schedule.pk}", name=schedule.name)
    return back


def schedule_run(
    schedule: Schedule, *, actor: Any = None, trigger: str = SnapshotKind.MANUAL, request_key: str | None = None
) -> Job:
    """Start a schedule now, enabled or not.  Conflict while it waits or runs already."""
    subject = f"schedule:{schedule.pk}"
    if trigger != SnapshotKind.SCHEDULED and Job.objects.filter(subject=subject, state__in=LIVE).exists():
        raise Conflict(f"“{schedule.name}” is running already; the banner shows how far it is.")
    with transaction.atomic():
        job = job_enqueue(_request(schedule, trigger, {}, actor=actor, key=request_key))
        if actor is not None:
            record("schedule.run", actor=actor, subject=subject, name=schedule.name, job=job.pk)
    return job


def schedule_run_all(viewer: Any) -> list[Job]:
    """Start all enabled schedules that ``viewer`` sees and that are not running."""
    jobs: list[Job] = []
    for schedule in Schedule.objects.visible_to(viewer).present().filter(is_enabled=True):
        try:
            jobs.append(schedule_run(schedule, actor=viewer))
        except Conflict:
            continue
    return jobs


def schedules_tick(moment: datetime) -> list[Job]:
    """Start what is due, once each: a row's moment moves on under its lock, and only the mover starts it.

    After a second the rest is left to the next tick, so that reaping and ringing are never late.
    """
    if went_back("schedules", moment):
        _plan_again(moment)
    if not option("backup_enabled"):
        return []
    began = time.monotonic()
    due = Schedule.objects.present().filter(is_enabled=True, next_run_at__lte=moment).order_by("next_run_at")
    found = list(due.values_list("pk", "account")[:_AT_ONCE])
    of_one = [number for number, account in found if account is not None]
    groups = [of_one[start : start + _TOGETHER] for start in range(0, len(of_one), _TOGETHER)]
    groups += [[number] for number, account in found if account is None]
    jobs: list[Job] = []
    for group in groups:
        jobs += _start_group(group, moment)
        if time.monotonic() - began > _TICK_SECONDS:
            break
    return jobs


def _start_group(numbers: list[int], moment: datetime) -> list[Job]:
    """Start some schedules together, or one by one: one that cannot start keeps no other from it."""
    try:
        with transaction.atomic():
            return _start_due(numbers, moment)
    except OperationalError:
        raise
    except Exception:  # noqa: BLE001 - whatever is wrong with one schedule, the others start
        if len(numbers) == 1:
            _log.exception("schedule %s did not start", numbers[0])
            return []
    return [job for number in numbers for job in _start_group([number], moment)]


def _start_due(numbers: list[int], moment: datetime) -> list[Job]:
    # SQLite knows no locks of rows: there nobody else writes while this transaction is open.
    rows = Schedule.objects.present().select_for_update(of=("self",)).filter(pk__in=numbers, is_enabled=True)
    rows = rows.filter(next_run_at__lte=moment).order_by("pk")
    due = list(rows.select_related("server", "account__priority").prefetch_related("destinations"))
    live = Job.objects.filter(subject__in=[_subject(schedule) for schedule in due], state__in=LIVE)
    busy = set(live.values_list("subject", flat=True))
    known = _known_repositories(due)
    requests: list[JobRequest] = []
    moved: list[Schedule] = []
    for schedule in due:
        is_busy = _subject(schedule) in busy
        if schedule.next_run_at is None or (is_busy and schedule.overlap == Overlap.QUEUE):
            continue
        key = f"{_subject(schedule)}@{schedule.next_run_at.isoformat()}"
        why = _move_on(schedule, moment, is_busy=is_busy)
        moved.append(schedule)
        if why is None:
            requests.append(_request(schedule, SnapshotKind.SCHEDULED, known, key=key))
        elif why:
            _skipped(schedule, key, moment, why)
    Schedule.objects.bulk_update(moved, ["next_run_at", "overdue_since"])
    return jobs_enqueue(requests)


def _move_on(schedule: Schedule, moment: datetime, *, is_busy: bool) -> str | None:
    """Set a due schedule's next moment; return None if it starts now, or why not: nothing if that is told elsewhere."""
    due_at = schedule.next_run_at
    catch_up = schedule.catch_up == CatchUp.ONCE
    choice = decide(timing_of(schedule), due_at, moment, catch_up=catch_up, tolerance=TOLERANCE)
    report = choice.missed and schedule.catch_up != CatchUp.SKIP
    schedule.next_run_at, schedule.overdue_since = choice.next_run_at, due_at if report else None
    if choice.missed:
        kind = "schedule.overdue" if report else "schedule.skipped"
        Event.objects.create(kind=kind, at=moment, subject=_subject(schedule), data={"due": due_at.isoformat()})
        return "" if report else "Nothing was running at its moment, and the schedule skips such runs."
    return "The run before was still going on." if is_busy else None


def _plan_again(moment: datetime) -> None:
    """Bring back runs that a clock which ran ahead has moved on too far: none may be skipped for that."""
    for schedule in Schedule.objects.present().filter(is_enabled=True, next_run_at__gt=moment):
        due = next_run(timing_of(schedule), moment)
        if due is not None and schedule.next_run_at is not None and due < schedule.next_run_at:
            Schedule.objects.filter(pk=schedule.pk, next_run_at=schedule.next_run_at).update(next_run_at=due)


def _skipped(schedule: Schedule, key: str, moment: datetime, reason: str) -> Job:
    return Job.objects.create(
        kind=Kind.BACKUP,
        name=schedule.name,
        scope=schedule.scope,
        subject=_subject(schedule),
        trigger=SnapshotKind.SCHEDULED,
        server=schedule.server,
        account=schedule.account,
        request_key=key,
        created_at=moment,
        started_at=moment,
        finished_at=moment,
        state=State.SKIPPED,
        error=reason,
    )


def repository_for(destination: Destination, schedule: Schedule) -> Repository:
    """Return the repository a schedule writes to at a destination; its row is made the first time."""
    repository, _ = Repository.objects.get_or_create(
        destination=destination, path=_path(schedule), defaults={"account": schedule.account}
    )
    return repository


def _known_repositories(schedules: list[Schedule]) -> dict[tuple[int, str], Repository]:
    """Return the repositories of single accounts that some schedules write to, by destination and path."""
    paths = {schedule.account.uid for schedule in schedules if schedule.account}
    places = {destination.pk for schedule in schedules for destination in schedule.destinations.all()}
    rows = Repository.objects.filter(destination__in=places, path__in=paths) if paths else Repository.objects.none()
    return {(row.destination_id, row.path): row for row in rows}


def _path(schedule: Schedule) -> str:
    return schedule.account.uid if schedule.account else _shared_path(schedule)


def _subject(schedule: Schedule) -> str:
    return f"schedule:{schedule.pk}"


def _shared_path(schedule: Schedule) -> str:
    return f"server-{schedule.server_id}" if Server.objects.count() > 1 else "server"


def _request(
    schedule: Schedule, trigger: str, known: dict[tuple[int, str], Repository], *, actor: Any = None, key: str | None
) -> JobRequest:
    """Return the job that a run of a schedule is; ``known`` holds repositories that were read already."""
    return JobRequest(
        kind=Kind.BACKUP,
        name=schedule.name,
        scope=schedule.scope,
        subject=_subject(schedule),
        trigger=trigger,
        server=schedule.server,
        account=schedule.account,
        requested_by=actor,
        request_key=key,
        spec={"schedule": schedule.pk, "kind": trigger},
        items=_items(schedule, known),
    )


def _items(schedule: Schedule, known: dict[tuple[int, str], Repository]) -> list[ItemRequest | ItemsRequest]:
    path = _path(schedule)
    items: list[ItemRequest | ItemsRequest] = []
    for destination in schedule.destinations.all():
        if destination.removed_at is not None:
            continue
        repository = known.get((destination.pk, path)) or repository_for(destination, schedule)
        spec, lease = {"repository": repository.pk, "destination": destination.name}, repository.lease
        items.append(
            ItemRequest(schedule.account, schedule.account.name, spec, lease, priority=schedule.priority)
            if schedule.account
            else ItemsRequest(_everybody(schedule), spec, lease, priority=schedule.priority)
        )
    return items


def _everybody(schedule: Schedule) -> Any:
    return Account.objects.filter(server=schedule.server, status=AccountStatus.ACTIVE)


def _assign(schedule: Schedule, data: ScheduleData) -> None:
    for name in _FIELDS:
        if name in data.values:
            setattr(schedule, name, data.values[name])
    try:
        timing_of(schedule)
    except (ValueError, KeyError, OSError) as error:
        raise Invalid(str(error)) from error


def _set_places(schedule: Schedule, data: ScheduleData, actor: Any) -> None:
    own = own_storage_of(schedule) if data.own is None else own_storage_save(schedule, data.own, actor=actor)
    schedule.destinations.set([*data.destinations, *([own] if own else [])])


def _check(data: ScheduleData, actor: Any, schedule: Schedule | None) -> None:
    own = data.own.kind if data.own else schedule and own_storage_of(schedule)
    if not data.destinations and not own:
        raise Invalid("Choose at least one destination.")
    others = Schedule.objects.present().filter(own_storage__in=data.destinations)
    if others.exclude(pk=schedule.pk if schedule else None).exists():
        raise Invalid("Storage of another schedule's own cannot be chosen.")
    for destination in data.destinations:
        if destination.account_id is None:
            continue
        if data.account is None or destination.account_id != data.account.pk:
            raise Invalid(f"“{destination.name}” belongs to one account; only its own schedules write there.")
        if not data.account.package.custom_storage:
            raise NotAllowed(f"The package of {data.account.name} has no storage of its own.")
    if actor is None or actor.is_admin:
        return
    if data.account is None:
        raise NotAllowed("Only administrators back up the entire server.")
    if not data.account.package.may_schedule:
        raise NotAllowed("Your package has no schedules of your own.")

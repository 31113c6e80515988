"""Asking for cleanups and integrity checks: by a person, by a command, or because it is time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from backups.models import IntegrityCheck, MarkedWhy, Repository, Snapshot, SnapshotKind
from panel.accounts.models import Server
from panel.audit.services import record
from panel.core.errors import NotAllowed
from panel.options.selectors import number, options
from worker.clock import now
from worker.enqueue import ItemRequest, JobRequest, job_enqueue
from worker.models import Job
from worker.states import LIVE, Kind

_NAMES = {Kind.CLEANUP: "Cleanup", Kind.CHECK: "Integrity check"}
_A_NIGHT = 500
"""Repositories that one tick checks at most; the others are due the next day, longest unchecked first."""


def removable(repository: Repository | None = None, moment: datetime | None = None) -> Any:
    """Return the snapshots that a cleanup may remove: marked long enough ago, or safety snapshots past their days.

    Locked ones stay, and what retention marked stays as long as nothing else whole of that account is there; a safety
    snapshot is none, it holds what a restore touched.
    """
    moment = moment or now()
    limits = options("hold_days", "safety_days")
    held = moment - timedelta(days=int(limits["hold_days"]))
    safe = moment - timedelta(days=int(limits["safety_days"]))
    others = Snapshot.objects.present().filter(
        repository=OuterRef("repository"), account=OuterRef("account"), damaged_at=None, marked_at=None
    )
    others = others.exclude(kind=SnapshotKind.SAFETY)
    rows = Snapshot.objects.present().exclude(locked_until__gt=moment)
    rows = rows.filter(Q(marked_at__lte=held) | Q(kind=SnapshotKind.SAFETY, taken_at__lte=safe))
    rows = rows.filter(~Q(marked_why=MarkedWhy.RETENTION) | Exists(others))
    return rows if repository is None else rows.filter(repository=repository)


def cleanup_request(*, actor: Any = None, trigger: str = "manual", key: str = "") -> list[Job]:
    """Start a cleanup of every repository that holds something removable; of all, if a person asks.  NotAllowed."""
    wanted = _usable().filter(destination__read_only=False)
    if trigger != "manual":
        wanted = wanted.filter(Exists(removable().filter(repository=OuterRef("pk"))))
    return _request(Kind.CLEANUP, wanted, actor, trigger, key)


def integrity_request(*, actor: Any = None, trigger: str = "manual", key: str = "") -> list[Job]:
    """Start a check of every repository; by schedule, of those whose time has come.  NotAllowed."""
    wanted = _usable()
    if trigger != "manual":
        due = now() - timedelta(days=number("integrity_days")) + timedelta(hours=6)
        unfinished = IntegrityCheck.objects.filter(repository=OuterRef("pk"), finished_at=None)
        wanted = wanted.filter(Q(checked_at=None) | Q(checked_at__lt=due) | Exists(unfinished))
        wanted = wanted.order_by("checked_at", "pk")[:_A_NIGHT]
    return _request(Kind.CHECK, wanted, actor, trigger, key)


def upkeep_tick(moment: datetime) -> list[Job]:
    """Start the day's cleanup and checks once their hour has come; repeating it starts nothing twice."""
    wanted = options("cleanup_enabled", "integrity_days", "upkeep_hour")
    day = moment.astimezone(UTC)
    if day.hour < int(wanted["upkeep_hour"]):
        return []
    jobs: list[Job] = []
    if wanted["cleanup_enabled"] and not _asked(Kind.CLEANUP, day):
        jobs += cleanup_request(trigger="scheduled", key=_key(Kind.CLEANUP, day))
    if wanted["integrity_days"] and not _asked(Kind.CHECK, day):
        jobs += integrity_request(trigger="scheduled", key=_key(Kind.CHECK, day))
    return jobs


def _key(kind: Kind, day: datetime) -> str:
    return f"{kind}@{day:%Y-%m-%d}"


def _asked(kind: Kind, day: datetime) -> bool:
    return Job.objects.filter(request_key__startswith=_key(kind, day)).exists()


def _usable() -> Any:
    return Repository.objects.exclude(repository_id="").filter(destination__is_enabled=True)


def _request(kind: Kind, wanted: Any, actor: Any, trigger: str, key: str) -> list[Job]:
    if actor is not None and not actor.is_admin:
        raise NotAllowed("Only administrators do that.")
    busy = set(Job.objects.filter(kind=kind, state__in=LIVE).values_list("items__lease", flat=True))
    found = [row for row in wanted.select_related("destination", "account") if row.lease not in busy]
    jobs: list[Job] = []
    with transaction.atomic():
        for server, repositories in _by_server(found):
            request = JobRequest(
                kind=kind,
                name=_NAMES[kind],
                server=server,
                trigger=trigger,
                requested_by=actor,
                request_key=f"{key}/{server.pk}" if key else None,
                items=[
                    ItemRequest(
                        label=f"{row.destination.name} · {row.path}",
                        spec={"repository": row.pk, "destination": row.destination.name},
                        lease=row.lease,
                        exclusive=True,
                    )
                    for row in repositories
                ],
            )
            jobs.append(job_enqueue(request))
        if actor is not None:
            record(f"{kind}.requested", actor=actor, repositories=len(found))
    return jobs


def _by_server(repositories: Iterable[Repository]) -> list[tuple[Server, list[Repository]]]:
    """Share repositories out among the servers that write them; a job without any says that there was nothing to do."""
    servers = {server.pk: server for server in Server.objects.order_by("pk")}
    first = next(iter(servers))
    shared: dict[int, list[Repository]] = defaultdict(list)
    for row in repositories:
        _, _, suffix = row.path.partition("server-")
        by_path = int(suffix) if suffix.isdigit() else first
        number = row.account.server_id if row.account else by_path
        shared[number if number in servers else first].append(row)
    return [(servers[number], rows) for number, rows in sorted((shared or {first: []}).items())]

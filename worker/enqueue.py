"""Making jobs: the row first, the doorbell after the commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, transaction

from panel.accounts.models import Account, Server
from worker import doorbell
from worker.clock import now
from worker.models import Job, JobItem
from worker.states import SLOT_OF, Kind, State


@dataclass(frozen=True, slots=True)
class ItemRequest:
    """One item to be.  ``lease`` names the resource it needs; ``spec`` holds ids and choices.

    ``priority`` replaces that of the account's group.
    """

    account: Account | None = None
    label: str = ""
    spec: dict[str, Any] = field(default_factory=dict)
    lease: str = ""
    exclusive: bool = False
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One job to be; see :class:`worker.models.Job`."""

    kind: Kind
    name: str
    server: Server
    items: Sequence[ItemRequest]
    scope: str = ""
    subject: str = ""
    trigger: str = "manual"
    account: Account | None = None
    requested_by: Any = None
    request_key: str | None = None
    spec: dict[str, Any] = field(default_factory=dict)


def job_enqueue(request: JobRequest) -> Job:
    """Store a job with its items and ring when the transaction is through.

    A request with the key of an earlier one returns the earlier job.  A job without items is skipped at once.
    """
    if request.request_key:
        earlier = Job.objects.filter(request_key=request.request_key).first()
        if earlier is not None:
            return earlier
    try:
        with transaction.atomic():
            job = _store(request)
    except IntegrityError:
        if not request.request_key:
            raise
        return Job.objects.get(request_key=request.request_key)
    return job


def _store(request: JobRequest) -> Job:
    moment = now()
    empty = not request.items
    job = Job.objects.create(
        kind=request.kind,
        name=request.name,
        scope=request.scope,
        subject=request.subject,
        trigger=request.trigger,
        server=request.server,
        account=request.account,
        requested_by=request.requested_by,
        request_key=request.request_key,
        spec=request.spec,
        created_at=moment,
        items_total=len(request.items),
        state=State.SKIPPED if empty else State.PENDING,
        finished_at=moment if empty else None,
        error="There was nothing to do." if empty else "",
    )
    slot = SLOT_OF[request.kind]
    JobItem.objects.bulk_create(
        JobItem(
            job=job,
            account=item.account,
            server=request.server,
            label=item.label or (item.account.name if item.account else request.name),
            spec=item.spec,
            slot=slot,
            priority=_priority(request.kind, item.account) if item.priority is None else item.priority,
            lease=item.lease,
            exclusive=item.exclusive,
        )
        for item in request.items
    )
    transaction.on_commit(lambda: doorbell.ring(request.server.queue))
    return job


def _priority(kind: Kind, account: Account | None) -> int:
    if account is None:
        return 50
    group = account.priority
    return {Kind.RESTORE: group.restore, Kind.DOWNLOAD: group.download}.get(kind, group.backup)

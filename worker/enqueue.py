"""Making jobs: the row first, the doorbell after the commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, QuerySet, Value

from panel.accounts.models import Account, Server
from worker import doorbell
from worker.clock import now
from worker.models import Job, JobItem
from worker.states import SLOT_OF, Kind, State

_ORDERS = dict.fromkeys(Kind, "backup") | {Kind.RESTORE: "restore", Kind.DOWNLOAD: "download"}
"""Which number of an account's priority group orders a kind of job."""


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
class ItemsRequest:
    """An item for each of many accounts, made where they are stored: ten thousand take a moment, not seconds.

    The items differ in account, label and priority only; the rest is as in :class:`ItemRequest`.
    """

    accounts: QuerySet[Account]
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
    items: Sequence[ItemRequest | ItemsRequest]
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
    try:
        return jobs_enqueue([request])[0]
    except IntegrityError:
        if not request.request_key:
            raise
        return Job.objects.get(request_key=request.request_key)


def jobs_enqueue(requests: Sequence[JobRequest]) -> list[Job]:
    """Store several jobs as :func:`job_enqueue` stores one, together or not at all.

    IntegrityError if somebody stores a job with the key of one of them at the same moment.
    """
    keys = [request.request_key for request in requests if request.request_key]
    known = {job.request_key: job for job in Job.objects.filter(request_key__in=keys)} if keys else {}
    fresh = [request for request in requests if not request.request_key or request.request_key not in known]
    with transaction.atomic():
        made = iter(_store(fresh))
    return [known.get(request.request_key) or next(made) for request in requests]


def _store(requests: Sequence[JobRequest]) -> list[Job]:
    moment = now()
    jobs = Job.objects.bulk_create(_job(request, moment) for request in requests)
    ones: list[JobItem] = []
    for request, job in zip(requests, jobs, strict=True):
        ones += [_one(job, item) for item in request.items if isinstance(item, ItemRequest)]
        many = [items for items in request.items if isinstance(items, ItemsRequest)]
        made = len(request.items) - len(many) + sum(_many(job, items) for items in many)
        if made != job.items_total:
            Job.objects.filter(pk=job.pk).update(items_total=made)
    JobItem.objects.bulk_create(ones)
    for queue in {request.server.queue for request in requests}:
        transaction.on_commit(partial(doorbell.ring, queue))
    return jobs


def _job(request: JobRequest, moment: datetime) -> Job:
    total = sum(items.accounts.count() if isinstance(items, ItemsRequest) else 1 for items in request.items)
    return Job(
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
        items_total=total,
        state=State.PENDING if total else State.SKIPPED,
        finished_at=None if total else moment,
        error="" if total else "There was nothing to do.",
    )


def _one(job: Job, item: ItemRequest) -> JobItem:
    kind = Kind(job.kind)
    return JobItem(
        job=job,
        account=item.account,
        server=job.server,
        label=item.label or (item.account.name if item.account else job.name),
        spec=item.spec,
        slot=SLOT_OF[kind],
        priority=_priority(kind, item.account) if item.priority is None else item.priority,
        lease=item.lease,
        exclusive=item.exclusive,
    )


def _many(job: Job, items: ItemsRequest) -> int:
    """Let the database make an item of each account; return how many."""
    kind = Kind(job.kind)
    like = JobItem(
        job=job, server=job.server, slot=SLOT_OF[kind], spec=items.spec, lease=items.lease, exclusive=items.exclusive
    )
    fields = [each for each in JobItem._meta.concrete_fields if not each.primary_key]
    values: dict[str, Any] = {each.name: Value(each.value_from_object(like), output_field=each) for each in fields}
    values |= {"account": F("pk"), "label": F("name")}
    values["priority"] = Value(items.priority) if items.priority is not None else F(f"priority__{_ORDERS[kind]}")
    rows = items.accounts.annotate(**{f"item_{name}": value for name, value in values.items()})
    chosen, params = rows.values_list(*[f"item_{name}" for name in values]).query.sql_with_params()
    columns = ", ".join(connection.ops.quote_name(each.column) for each in fields)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {JobItem._meta.db_table} ({columns}) {chosen}", params)
        return int(cursor.rowcount)


def _priority(kind: Kind, account: Account | None) -> int:
    return 50 if account is None else int(getattr(account.priority, _ORDERS[kind]))

"""What runs and what waits on a server, for claims.  Plain SQL: built by query sets, it cost more than all its rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from worker.clock import now
from worker.models import JobItem
from worker.states import Slot

_RUNNING = "SELECT slot, job_id, lease, account_id FROM worker_jobitem WHERE server_id = %s AND state = 'running'"
_WAITING = (
    "SELECT item.*, job.state AS job_state FROM worker_jobitem AS item JOIN worker_job AS job ON job.id = item.job_id "
    "WHERE item.server_id = %s AND item.state = 'pending' AND job.cancel_at IS NULL "
    "AND (item.not_before IS NULL OR item.not_before <= %s) AND {conditions} "
    "ORDER BY item.slot, item.priority, item.id LIMIT %s"
)
"""The order is that of an index: what is taken is found at its beginning, however much waits."""
_START = (
    "UPDATE worker_jobitem SET state = 'running', started_at = %s, tries = tries + 1, waits_for = '', bytes_done = 0, "
    "files_done = 0, speed = 0 WHERE id = %s AND state = 'pending'"
)


class RunningItem(NamedTuple):
    """What a claim must know of an item that runs."""

    slot: int
    job_id: int
    lease: str
    account_id: int | None


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on ``item`` and ``job``, and its values."""

    sql: str
    values: tuple[Any, ...] = ()

    def __invert__(self) -> Condition:
        return Condition(f"NOT ({self.sql})", self.values)

    def __and__(self, other: Condition) -> Condition:
        return Condition(f"({self.sql}) AND ({other.sql})", (*self.values, *other.values))


def among(column: str, values: Collection[Any]) -> Condition:
    """Return the condition that a column has one of some values, of which there is at least one."""
    return Condition(f"{column} IN ({', '.join(['%s'] * len(values))})", tuple(values))


def running_items(server_id: int) -> list[RunningItem]:
    """Return what runs on a server."""
    with connection.cursor() as cursor:
        cursor.execute(_RUNNING, [server_id])
        return [RunningItem(*row) for row in cursor.fetchall()]


def waiting_items(server_id: int, slots: Collection[Slot], conditions: list[Condition], most: int) -> list[JobItem]:
    """Return the first items that wait on a server: restores, then by priority, then by age.

    Each knows the state of its job, as ``job_state``.
    """
    if len(slots) < len(Slot):
        conditions = [among("item.slot", [int(slot) for slot in slots]), *conditions]
    sql = _WAITING.format(conditions=" AND ".join(each.sql for each in conditions) or "TRUE")
    moment = connection.ops.adapt_datetimefield_value(now())
    values = [value for each in conditions for value in each.values]
    return list(JobItem.objects.raw(sql, [server_id, moment, *values, most]))


def item_start(item: JobItem, moment: datetime) -> bool:
    """Turn an item that waits into one that runs; False if somebody else was first."""
    with connection.cursor() as cursor:
        cursor.execute(_START, [connection.ops.adapt_datetimefield_value(moment), item.pk])
        return bool(cursor.rowcount)

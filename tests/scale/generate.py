"""Fills PostgreSQL with a large installation, by SQL: rows are made where they are stored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import connection, models


@dataclass(frozen=True, slots=True)
class Volume:
    """How large; the defaults are those of ``make scale``."""

    accounts: int = 10_000
    schedules: int = 10_000
    snapshots: int = 1_000_000
    single_jobs: int = 500_000
    server_runs: int = 150
    log_lines: int = 500_000
    audit: int = 200_000

    @property
    def items(self) -> int:
        """Job items in all."""
        return self.single_jobs + self.server_runs * self.accounts


def fill(volume: Volume) -> None:
    """Make everything; the tables are empty but for the ground rows that this makes too.

    The rows fit together by their making, so nothing looks after foreign keys meanwhile.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
    _people(volume)
    _schedules(volume)
    _jobs(volume)
    _snapshots(volume)
    _insert(
        "audit.AuditEvent",
        volume.audit,
        id="n",
        at=_ago("n", volume.audit),
        actor_name="'system'",
        action="'job.ended'",
        subject="'schedule:' || (n % 1000)",
        previous=_hex("a", "n"),
        hash=_hex("a", "n + 1"),
    )
    _insert(
        "worker.Event",
        volume.single_jobs,
        id="n",
        at=_ago("n", volume.single_jobs),
        kind="CASE WHEN n % 1000 = 0 THEN 'schedule.overdue' ELSE 'job.success' END",
        subject=f"CASE WHEN n % 1000 = 0 THEN 'schedule:' || (21 + n % {volume.schedules - 20}) ELSE '' END",
        job_id="CASE WHEN n % 1000 = 0 THEN NULL ELSE n END",
    )
    _insert("worker.Beat", 1, name="'scheduler'", seen_at="now()")
    for model in apps.get_models():
        _restart(model)
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = DEFAULT")
        cursor.execute("VACUUM ANALYZE")


def _people(volume: Volume) -> None:
    users = volume.accounts
    _insert("accounts.Server", 1, id="n", name="'server-one'", queue="'server.local'", created_at="now()")
    _insert("accounts.PriorityGroup", 3, id="n", name="'Group ' || n", is_default="n = 2")
    _insert("accounts.Package", 5, id="n", name="'Package ' || n")
    _insert(
        "accounts.User",
        users + 51,
        id="n",
        username="'user' || n",
        password="'!'",
        created_at="now()",
        email="''",
        role=f"CASE WHEN n = {users + 51} THEN 'admin' WHEN n > {users} THEN 'reseller' ELSE 'end_user' END",
    )
    _insert(
        "accounts.Account",
        volume.accounts,
        id="n",
        uid="'acc' || n || '-' || substr(md5(n::text), 1, 4)",
        name="'acc' || n",
        server_id="1",
        home="'/home/acc' || n",
        domain="'site' || n || '.example'",
        owner_id="n",
        reseller_id=f"{users} + 1 + n % 50",
        package_id="1 + n % 5",
        priority_id="1 + n % 3",
        created_at="now()",
        disk_bytes="n * 1000003::bigint",
        inodes="n * 37",
    )


def _schedules(volume: Volume) -> None:
    _insert(
        "destinations.Destination",
        4,
        id="n",
        name="'Destination ' || n",
        kind="CASE n WHEN 1 THEN 'local' ELSE 's3' END",
        config="CASE n WHEN 1 THEN '{\"path\": \"/nowhere\"}' ELSE '{}' END::jsonb",
        created_at="now()",
    )
    _insert(
        "backups.Schedule",
        volume.schedules,
        id="n",
        name="'Nightly ' || n",
        server_id="1",
        account_id=f"CASE WHEN n <= 20 THEN NULL ELSE 1 + n % {volume.accounts} END",
        scope="'web'",
        hour="n % 24",
        minute="n % 60",
        retention="'{\"last\": 14}'::jsonb",
        next_run_at="now() + (10 + n % 1400) * interval '1 minute'",
        created_at="now()",
        key_saved_at="now()",
    )
    through = apps.get_model("backups", "Schedule").destinations.through
    _insert(through._meta.label, volume.schedules, schedule_id="n", destination_id="1 + n % 4")
    _insert(
        "backups.Repository",
        volume.accounts + 1,
        id="n",
        destination_id="1 + n % 4",
        path=f"CASE WHEN n > {volume.accounts} THEN 'server' ELSE 'acc' || n END",
        repository_id=_hex("a", "n"),
        account_id=f"CASE WHEN n > {volume.accounts} THEN NULL ELSE n END",
        created_at="now()",
        checked_at="now() - interval '1 day'",
    )


def _jobs(volume: Volume) -> None:
    jobs = volume.single_jobs + volume.server_runs
    is_run = f"n > {volume.single_jobs}"
    moment = _ago("n", jobs)
    state = "CASE WHEN n % 97 = 0 THEN 'failed' WHEN n % 31 = 0 THEN 'warning' ELSE 'success' END"
    error = "CASE WHEN n % 97 = 0 THEN 'The storage did not answer.' ELSE '' END"
    _insert(
        "worker.Job",
        jobs,
        id="n",
        kind="CASE WHEN n % 41 = 0 THEN 'restore' ELSE 'backup' END",
        name=f"CASE WHEN {is_run} THEN 'Whole server' ELSE 'Nightly ' || (1 + n % {volume.schedules}) END",
        subject=f"'schedule:' || CASE WHEN {is_run} THEN 1 + n % 20 ELSE 21 + n % {volume.schedules - 20} END",
        trigger="'scheduled'",
        server_id="1",
        state=state,
        created_at=moment,
        started_at=moment,
        finished_at=f"{moment} + interval '3 minutes'",
        error=error,
        account_id=f"CASE WHEN {is_run} THEN NULL ELSE 1 + n % {volume.accounts} END",
        items_total=f"CASE WHEN {is_run} THEN {volume.accounts} ELSE 1 END",
        items_done=f"CASE WHEN {is_run} THEN {volume.accounts} ELSE 1 END",
        bytes_done="n * 1000::bigint",
    )
    per = volume.accounts
    run = f"(n - {volume.single_jobs} - 1)"
    job = f"CASE WHEN n <= {volume.single_jobs} THEN n ELSE {volume.single_jobs} + 1 + {run} / {per} END"
    moment = _ago("n", volume.items)
    _insert(
        "worker.JobItem",
        volume.items,
        id="n",
        job_id=job,
        account_id=f"1 + n % {per}",
        server_id="1",
        label=f"'acc' || (1 + n % {per})",
        slot="2",
        state=state,
        finished_at=moment,
        started_at=moment,
        lease=f"'repository:' || (1 + n % {per})",
        bytes_done="n",
        error=error,
        tries="1",
    )
    _insert(
        "worker.Attempt",
        volume.items // 4,
        item_id="n",
        number="1",
        worker="'w/1'",
        started_at="now()",
        heartbeat_at="now()",
        finished_at="now()",
        outcome="'ended'",
    )
    _insert("worker.JobLogLine", volume.log_lines, job_id=f"1 + n % {jobs}", at="now()", text="'finished: success'")


def _snapshots(volume: Volume) -> None:
    own = volume.accounts
    _insert(
        "backups.Snapshot",
        volume.snapshots,
        id="n",
        account_id=f"1 + n % {own}",
        snapshot_id=_hex("a", "n"),
        repository_id=f"CASE WHEN n % 5 = 0 THEN {own} + 1 ELSE 1 + n % {own} END",
        tree=_hex("a", "n"),
        schedule_id=f"21 + n % {volume.schedules - 20}",
        job_id=f"1 + n % {volume.single_jobs}",
        scope="'web'",
        taken_at=_ago("n", volume.snapshots),
        files="100 + n % 1000",
        size="n * 1001::bigint",
        added="n",
        original=_hex("a", "n"),
        components="'[\"web\"]'::jsonb",
    )


def add_live(pending: int, running: int) -> None:
    """Add one job that runs, with so many items that run and wait."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(id) + 1 FROM worker_job")
        job = int(cursor.fetchone()[0])
        cursor.execute("SELECT max(id) FROM worker_jobitem")
        first = int(cursor.fetchone()[0])
    _insert(
        "worker.Job",
        1,
        id=str(job),
        kind="'backup'",
        name="'Whole server'",
        subject="'schedule:1'",
        server_id="1",
        state="'running'",
        created_at="now()",
        started_at="now()",
        items_total=str(pending + running),
    )
    _insert(
        "worker.JobItem",
        pending + running,
        id=f"{first} + n",
        job_id=str(job),
        account_id="n",
        server_id="1",
        label="'acc' || n",
        slot="2",
        lease="'repository:' || (1 + n % 500)",
        state=f"CASE WHEN n <= {running} THEN 'running' ELSE 'pending' END",
    )
    for name in ("worker.Job", "worker.JobItem"):
        _restart(apps.get_model(name))


def _insert(model_label: str, rows: int, /, **given: str) -> None:
    """Make ``rows`` rows, numbered ``n``; columns that are not given get the model's own defaults."""
    model = apps.get_model(model_label)
    columns = {field.column: given.pop(field.column) for field in model._meta.concrete_fields if field.column in given}
    if given:
        raise LookupError(f"{model_label} has no columns {sorted(given)}")
    for field in model._meta.concrete_fields:
        if field.column not in columns and not isinstance(field, models.AutoField):
            columns[field.column] = _literal(field)
    names = ", ".join(f'"{name}"' for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO "{model._meta.db_table}" ({names}) SELECT {", ".join(columns.values())} '
            f"FROM generate_series(1, {rows}) AS n"
        )


def _literal(field: Any) -> str:
    if field.null:
        return "NULL"
    if isinstance(field, models.DateTimeField):
        return "now()"
    value = field.get_default()
    if isinstance(field, models.JSONField):
        return f"'{json.dumps(value)}'::jsonb"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else f"'{value or ''}'"


def _ago(number: str, count: int) -> str:
    """Return the moment of a row: the last one is a minute old, the first 100 days."""
    return f"(now() - interval '1 minute' - ({count} - {number}) * interval '{8_640_000 / count:.6f} seconds')"


def _hex(letter: str, number: str) -> str:
    """Return a name of 64 digits; names in order fill an index much faster than names by chance."""
    return f"lpad(to_hex({number}), 63, '0') || '{letter}'"


def _restart(model: Any) -> None:
    key = model._meta.pk
    if not isinstance(key, models.AutoField):
        return
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT setval(pg_get_serial_sequence('\"{table}\"', 'id'), (SELECT coalesce(max(id), 1) FROM {table}))"
        )

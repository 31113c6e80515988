"""The rows of snapshots that a worker's engine has written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from backups.models import Repository, Schedule, Snapshot
from panel.accounts.models import Account
from worker.models import JobItem


@dataclass(frozen=True, slots=True)
class Origin:
    """What a snapshot was made of, and why: a :class:`~backups.models.SnapshotKind`, a scope and its components."""

    kind: str
    scope: str
    components: list[str]
    account: Account | None
    schedule: Schedule | None


def snapshot_record(saved: dict[str, Any], origin: Origin, item: JobItem, repository: Repository) -> Snapshot:
    """Store the row of a snapshot as the session said it; the same one twice is one row."""
    snapshot, _ = Snapshot.objects.update_or_create(
        repository=repository,
        snapshot_id=saved["snapshot"],
        defaults={
            "original": saved["snapshot"],
            "tree": saved["tree"],
            "account": origin.account,
            "schedule": origin.schedule,
            "job": item.job,
            "kind": origin.kind,
            "scope": origin.scope,
            "components": origin.components,
            "taken_at": datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=saved["taken_at"]),
            "files": saved["files"],
            "size": saved["size"],
            "added": saved["data_added"],
        },
    )
    return snapshot

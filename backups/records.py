"""The rows of snapshots that a worker's engine has written, or finds in a repository without one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from backups.models import Repository, Schedule, Scope, Snapshot, SnapshotKind
from backups.selectors import COMPONENTS
from panel.accounts.models import Account
from worker.models import JobItem


@dataclass(frozen=True, slots=True)
class Origin:
    """What a snapshot was made of, and why: a :class:`~backups.models.SnapshotKind`, a scope and its components.

    ``mount`` and ``is_hollow`` are the snapshot's own.
    """

    kind: str
    scope: str
    components: list[str]
    account: Account | None
    schedule: Schedule | None
    mount: str = ""
    is_hollow: bool = False


def snapshot_record(saved: dict[str, Any], origin: Origin, item: JobItem, repository: Repository) -> Snapshot:
    """Store the row of a snapshot as the session said it; the same one twice is one row."""
    snapshot, _ = Snapshot.objects.update_or_create(
        repository=repository,
        snapshot_id=saved["snapshot"],
        defaults={
            **_said(saved),
            "account": origin.account,
            "schedule": origin.schedule,
            "job": item.job,
            "kind": origin.kind,
            "scope": origin.scope,
            "components": origin.components,
            "mount": origin.mount,
            "is_hollow": origin.is_hollow,
        },
    )
    return snapshot


def snapshots_adopt(repository: Repository, found: Iterable[dict[str, Any]]) -> list[Snapshot]:
    """Store rows for snapshots of ours that have none, because their worker died too early, and return them.

    What they are, their tags say.  Those that do not name an account of this repository are left to an import.
    """
    adopted: list[Snapshot] = []
    for each in found:
        tags = dict(tag.split(":", 1) for tag in each["tags"] if ":" in tag)
        account = Account.objects.filter(uid=tags.get("account", "")).first()
        kind, scope = tags.get("kind"), tags.get("scope")
        if account is None or repository.account_id not in (None, account.pk):
            continue
        if kind not in SnapshotKind.values or scope not in Scope.values:
            continue
        number = tags.get("schedule", "")
        schedule = Schedule.objects.filter(pk=int(number)).first() if number.isdecimal() else None
        if schedule is not None and schedule.account_id not in (None, account.pk):
            schedule = None
        row, made = Snapshot.objects.get_or_create(
            repository=repository,
            snapshot_id=each["snapshot"],
            defaults={
                **_said(each),
                "account": account,
                "schedule": schedule,
                "kind": kind,
                "scope": scope,
                "components": list(COMPONENTS.get(scope, ())),
            },
        )
        if made:
            adopted.append(row)
    return adopted


def _said(said: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that hold what a session says of a snapshot."""
    return {
        "original": said["snapshot"],
        "tree": said["tree"],
        "taken_at": datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=said["taken_at"]),
        "files": said["files"],
        "size": said["size"],
        "added": said["data_added"],
    }

"""Rows for snapshots that are in a repository and not in our tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from backups.models import Repository, Schedule, Scope, Snapshot, SnapshotKind
from backups.selectors import COMPONENTS
from panel.accounts.models import Account

_PARTS = ("web", "databases", "mail", "ssl", "config", "cron")
_KNOWN = {name for names in COMPONENTS.values() for name in names} | set(_PARTS)
_BATCH = 500


def import_snapshots(repository: Repository, schedule: Schedule, stored: list[dict[str, Any]]) -> int:
    """Make a row for each stored snapshot that has none; returns how many.

    They are of kind *foreign*: listed and restorable, and outside of what a schedule's retention counts.  In an
    account's repository they are that account's; elsewhere the account is the one whose id a snapshot names.
    """
    known = set(repository.snapshots.values_list("snapshot_id", flat=True))
    new = [each for each in stored if each["id"] not in known]
    names = {_account_id(each) for each in new}
    accounts = {account.uid: account for account in Account.objects.filter(uid__in=names, server=schedule.server)}
    owner = repository.account or schedule.account
    rows = [_row(repository, schedule, each, accounts.get(_account_id(each), owner)) for each in new]
    Snapshot.objects.bulk_create(rows, batch_size=_BATCH, ignore_conflicts=True)
    return len(rows)


def _row(repository: Repository, schedule: Schedule, stored: dict[str, Any], account: Account | None) -> Snapshot:
    scope = next((tag[6:] for tag in stored["tags"] if tag.startswith("scope:")), "")
    if repository.account is not None:
        account = repository.account
    return Snapshot(
        repository=repository,
        snapshot_id=stored["id"],
        original=stored["original"],
        tree=stored["tree"],
        account=account,
        schedule=schedule,
        kind=SnapshotKind.FOREIGN,
        scope=scope if scope in Scope.values else Scope.FULL,
        components=[name for name in stored["top"] if name in _KNOWN],
        taken_at=datetime.fromtimestamp(stored["taken_at"], UTC),
        files=stored["files"],
        size=stored["size"],
    )


def _account_id(stored: dict[str, Any]) -> str:
    named = next((tag[8:] for tag in stored["tags"] if tag.startswith("account:")), "")
    return named or next((path[10:] for path in stored["paths"] if path.startswith("/accounts/")), "")

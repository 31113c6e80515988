"""What a session does for one item, in a child of its own."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from backups.engine.errors import BadRequest, Corrupt, SnapshotMissing
from backups.engine.layout import SNAPSHOTS, is_id
from backups.engine.ports import CancelToken
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot, decode_snapshot
from backups.engine.times import TimeFormatter
from backups.session.events import SaidProgress, say
from backups.session.spec import Backup
from destinations.storage.errors import ObjectMissing

COMPLETE, INCOMPLETE = 0, 3


def run_backup(repository: Repository, command: Backup, cancel: CancelToken) -> int:
    """Back up an account; the summary is said, the exit status returned."""
    # Restores and questions need this module too, and these two take long.
    from backups.engine.archiver import BackupOptions, SnapshotInfo, backup
    from backups.session.source import account_source

    # What the parent held says nothing of a few paths out of it.
    part = any(component.only for component in command.components)
    progress = SaidProgress(command.item, time.monotonic, totals=not part)
    began = time.time_ns()
    info = SnapshotInfo(
        time=TimeFormatter(command.zone).format(began),
        paths=[f"/accounts/{command.account}"],
        hostname=command.hostname,
        username="holdfast",
        uid=os.getuid(),
        gid=os.getgid(),
        excludes=command.excludes,
        tags=command.tags,
    )
    result = backup(
        repository,
        account_source(command),
        info,
        parent=_parent(repository, command.parent),
        options=BackupOptions(workers=command.workers, zone="UTC"),
        progress=progress,
        cancel=cancel,
    )
    counts = result.counts
    say(
        "saved",
        command.item,
        snapshot=result.snapshot_id,
        tree=result.tree,
        taken_at=began // 1000,
        files=counts.total_files_processed,
        size=counts.total_bytes_processed,
        files_new=counts.files_new,
        files_changed=counts.files_changed,
        files_unmodified=counts.files_unmodified,
        data_added=counts.data_added_packed,
        problems=len(result.problems),
        seconds=result.seconds,
    )
    return COMPLETE if result.complete else INCOMPLETE


def snapshot_of(repository: Repository, snapshot_id: str) -> Snapshot:
    """Return a snapshot by its whole id, whatever the others are like.  SnapshotMissing, Corrupt, StoreError."""
    if not is_id(snapshot_id):
        raise BadRequest("a session wants whole snapshot ids")
    try:
        return decode_snapshot(repository.load_object(SNAPSHOTS, snapshot_id), snapshot_id)
    except ObjectMissing:
        raise SnapshotMissing("this restore point is not in the repository any more") from None


def _parent(repository: Repository, snapshot_id: str) -> Snapshot | None:
    """Return what is compared with; None, and all is read again, if it is not there or damaged."""
    with suppress(BadRequest, Corrupt):
        return snapshot_of(repository, snapshot_id)
    return None

"""What a session does for one item, in a child of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from backups.engine.archiver import BackupOptions, SnapshotInfo, backup
from backups.engine.errors import BadRequest
from backups.engine.ports import CancelToken
from backups.engine.repository import Repository
from backups.engine.restore_rules import RestoreOptions
from backups.engine.restorer import restore
from backups.engine.snapshot import Snapshot, find_snapshot
from backups.engine.times import TimeFormatter
from backups.session.events import SaidProgress, say
from backups.session.privileges import become
from backups.session.source import account_source
from backups.session.spec import Backup, Restore
from restores.targets.folder import FolderTarget
from restores.targets.policy import LIKE_RESTIC, account_policy

COMPLETE, INCOMPLETE = 0, 3


def run_backup(repository: Repository, command: Backup, cancel: CancelToken) -> int:
    """Back up an account; the summary is said, the exit status returned."""
    progress = SaidProgress(command.item, time.monotonic)
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


def run_restore(repository: Repository, command: Restore, cancel: CancelToken) -> int:
    """Put items of a snapshot back; the summary is said, the exit status returned."""
    snapshot = snapshot_of(repository, command.snapshot)
    policy = LIKE_RESTIC
    if command.user is not None:
        group = command.user if command.group is None else command.group
        become(command.user, group)
        policy = account_policy(command.user, group)
    target = FolderTarget(os.fsencode(command.target), below=os.fsencode(command.below), policy=policy)
    try:
        result = restore(
            repository,
            snapshot.tree,
            target,
            folder=os.fsencode(command.folder),
            options=RestoreOptions(
                select=_selector([os.fsencode(path) for path in command.paths]),
                overwrite=command.overwrite,  # type: ignore[arg-type]
                delete=command.mirror,
                workers=0,
            ),
            progress=SaidProgress(command.item, time.monotonic),
            cancel=cancel,
        )
    finally:
        target.close()
    for problem in result.problems[:100]:
        say("problem", command.item, path=os.fsdecode(problem.path)[-1000:], message=problem.reason)
    say(
        "restored",
        command.item,
        files_restored=result.files,
        files_unchanged=result.unchanged,
        files_skipped=result.skipped,
        deleted=result.deleted,
        failed=result.failed,
        size=result.written,
        seconds=result.seconds,
    )
    return COMPLETE if result.complete else INCOMPLETE


def snapshot_of(repository: Repository, snapshot_id: str) -> Snapshot:
    """Return a snapshot by its whole id.  BadRequest for anything else."""
    if len(snapshot_id) != 64:
        raise BadRequest("a session wants whole snapshot ids")
    return find_snapshot(repository.snapshots(), snapshot_id)[0]


def _parent(repository: Repository, snapshot_id: str) -> Snapshot | None:
    return next((snapshot for snapshot in repository.snapshots() if snapshot.id == snapshot_id), None)


def _selector(paths: list[bytes]) -> Callable[[bytes, bool], tuple[bool, bool]] | None:
    wanted = [path.strip(b"/") for path in paths]
    if not wanted or b"" in wanted:
        return None

    def select(path: bytes, _is_folder: bool) -> tuple[bool, bool]:
        path = path.strip(b"/")
        inside = any(path == want or path.startswith(want + b"/") for want in wanted)
        return inside, inside or any(want.startswith(path + b"/") for want in wanted)

    return select

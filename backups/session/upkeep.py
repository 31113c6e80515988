"""What keeps a repository small and known to be whole: removing what is to go, and checking, alone in it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from backups.engine.check_subset import Position, Subset
from backups.engine.checker import Check, CheckOptions
from backups.engine.errors import EngineError, SnapshotMissing
from backups.engine.findings import Finding
from backups.engine.forget import remove_snapshots
from backups.engine.layout import SNAPSHOTS
from backups.engine.ports import CancelToken
from backups.engine.prune import prune
from backups.engine.prune_plan import PruneOptions, PruneReport
from backups.engine.repair_index import repair_index
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot
from backups.engine.watch import Watch
from backups.session.events import SaidProgress, say
from backups.session.items import snapshot_of
from backups.session.spec import Inspect, Sweep
from destinations.storage.errors import StoreError

DONE, DAMAGED = 0, 3
_BATCH = 40
_MOST_FINDINGS = 500


def run_sweep(repository: Repository, command: Sweep, cancel: CancelToken) -> int:
    """Remove snapshots and free what they alone needed; the figures are said, the exit status returned.

    Snapshots that the storage did not remove are left to the next sweep, and so are sizes beyond ``most``.
    """
    watch = Watch(SaidProgress(command.item, time.monotonic), cancel)
    began = time.monotonic()
    gone = remove_snapshots(repository, command.snapshots, watch=watch)
    for names in _batches(gone.removed):
        say("forgotten", command.item, snapshots=names)
    report = PruneReport()
    if gone.removed or command.always:
        options = PruneOptions(max_repack=command.most or None)
        report = prune(repository, options, forgotten=gone.removed, watch=watch)
    say(
        "swept",
        command.item,
        forgotten=len(gone.removed),
        left_behind=len(gone.left_behind) + report.left_behind,
        freed=report.freed_bytes,
        stored=report.total.bytes - report.freed_bytes,
        unused=report.unused_after_bytes,
        seconds=time.monotonic() - began,
    )
    return DONE


def run_inspect(repository: Repository, command: Inspect, cancel: CancelToken) -> int:
    """Check the structure, and the data for so many seconds from where the last check stopped.

    Findings are said one by one.  Packs that are gone leave the index, so that the next backup stores their blobs
    again; nothing else is changed.
    """
    began = time.monotonic()
    position = Position.from_json(command.position) if command.position else None
    if position is not None and position.repository != repository.id:
        position = None
    reading = None if position is not None or not command.seconds else Subset()
    options = CheckOptions(read=reading, position=position, deadline=began + command.seconds)
    check = Check(repository, options, SaidProgress(command.item, time.monotonic), cancel)
    for number, finding in enumerate(check.findings()):
        if number < _MOST_FINDINGS:
            _say_finding(command.item, finding)
    if check.missing_packs:
        repair_index(repository, watch=Watch(cancel=cancel))
    absent = _compare(repository, command)
    counts = check.counts
    say(
        "inspected",
        command.item,
        position=check.position.to_json() if check.position else None,
        snapshots=counts.snapshots,
        packs=counts.packs,
        packs_read=counts.packs_read,
        bytes_read=counts.bytes_read,
        errors=counts.errors + absent,
        hints=counts.hints,
        missing=len(check.missing_packs),
        seconds=time.monotonic() - began,
    )
    return DAMAGED if counts.errors + absent else DONE


def _compare(repository: Repository, command: Inspect) -> int:
    """Say which snapshots are not known to who asked; tell of those that are not there, and return how many."""
    stored, known = set(repository.ids(SNAPSHOTS)), set(command.known)
    for name in sorted(stored - known - set(command.removed))[:_MOST_FINDINGS]:
        with suppress(EngineError, StoreError):
            _say_unknown(command.item, snapshot_of(repository, name))
    absent = sorted(known - stored)
    for name in absent:
        fields = {"code": SnapshotMissing.code, "kind": "snapshot", "object": name, "severity": "error"}
        say(
            "finding",
            command.item,
            message="the restore point is not in the storage any more",
            snapshots=[name],
            **fields,
        )
    return len(absent)


def _say_unknown(item: int, snapshot: Snapshot) -> None:
    counts = snapshot.summary
    say(
        "unknown",
        item,
        snapshot=snapshot.id,
        tree=snapshot.tree,
        taken_at=snapshot.instant // 1000,
        tags=snapshot.tags,
        files=counts.total_files_processed if counts else 0,
        size=counts.total_bytes_processed if counts else 0,
        data_added=counts.data_added_packed if counts else 0,
    )


def _say_finding(item: int, finding: Finding) -> None:
    fields = {"code": finding.code, "kind": finding.kind, "object": finding.object_id, "severity": finding.severity}
    for names in _batches(finding.snapshots) or [[]]:
        say("finding", item, message=finding.message[:900], snapshots=names, **fields)


def _batches(names: Sequence[str]) -> list[list[str]]:
    return list(_slices(names))


def _slices(names: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), _BATCH):
        yield list(names[start : start + _BATCH])

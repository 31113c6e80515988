"""Copies snapshots from one repository to another, with what the other does not have yet.

Trees go byte for byte, so their ids stay.  Data deduplicates against what is there only if both repositories
cut files alike: the second one should be made with the chunker's parameters of the first.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import msgspec

from backups.engine.edit import save_snapshot
from backups.engine.errors import BadRequest, Canceled
from backups.engine.newpacks import NewPacks
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot, already_copied, copy_of
from backups.engine.transfer import Task, TransferOptions, transfer
from backups.engine.usage import Usage, find_used
from backups.engine.watch import Watch


class CopyResult(msgspec.Struct):
    """What was done.  ``copied`` are (original, copy), ``skipped`` were there already; ``blobs``, ``bytes`` moved."""

    copied: list[tuple[Snapshot, Snapshot]] = []
    skipped: list[Snapshot] = []
    blobs: int = 0
    bytes: int = 0
    packs: int = 0
    same_chunker: bool = True
    """Whether both repositories cut files alike."""


def copy_snapshots(
    source: Repository,
    target: Repository,
    snapshots: Sequence[Snapshot],
    *,
    options: TransferOptions | None = None,
    watch: Watch | None = None,
) -> CopyResult:
    """Copy snapshots, under a shared lock on both repositories and with both indexes loaded.

    Data first, then its index, then the snapshots.  Raises BadRequest if both are the same repository, Corrupt or
    BlobMissing if the source is damaged, StoreError; Canceled, with what was copied kept for the next time.
    """
    if source.id == target.id:
        raise BadRequest("source and target are the same repository")
    watch, options = watch or Watch(), options or TransferOptions()
    result = CopyResult(same_chunker=source.config.chunker_polynomial == target.config.chunker_polynomial)
    wanted = _wanted(target, snapshots, result, watch)
    if not wanted:
        return result
    roots = [bytes.fromhex(snapshot.tree) for snapshot in wanted]
    usage = find_used(source, roots, watch=watch, workers=options.workers)
    packs = NewPacks(target)
    try:
        transfer(source, target, _tasks(usage, target, result), packs.stored, options=options, watch=watch)
    except Canceled:
        packs.keep()
        raise
    packs.settle()
    watch.check()
    result.packs = len(packs.all)
    result.copied = [(snapshot, save_snapshot(target, copy_of(snapshot))) for snapshot in wanted]
    return result


def _wanted(target: Repository, snapshots: Iterable[Snapshot], result: CopyResult, watch: Watch) -> list[Snapshot]:
    """Return the snapshots that the target does not have yet; the others are noted as skipped."""
    present: dict[str, list[Snapshot]] = {}
    for there in target.snapshots(lambda error: watch.problem(f"snapshots/{error.object_id}", error)):
        for name in {there.id, there.original or there.id}:
            present.setdefault(name, []).append(there)
    wanted = []
    for snapshot in snapshots:
        if already_copied(snapshot, present.get(snapshot.original or snapshot.id, ())):
            result.skipped.append(snapshot)
        else:
            wanted.append(snapshot)
    return wanted


def _tasks(usage: Usage, target: Repository, result: CopyResult) -> list[Task]:
    """Return the blobs that the target lacks, by the pack of the source that has them."""
    tasks: dict[int, array[int]] = {}
    table, has = usage.table, target.index.has
    for number in usage.numbers():
        if has(*table.key(number)):
            continue
        place = table.location(number)
        tasks.setdefault(place.pack, array("I")).append(number)
        result.blobs += 1
        result.bytes += place.length
    return sorted(tasks.items())

"""Frees what no snapshot needs.

A plan is made first and can be shown; nothing is removed unless every snapshot and every tree could be read
and every needed blob has a place.  Packs nobody knows go first, then needed blobs of thin packs are copied,
then the index is written anew, and only then packs are removed: a kill at any instant leaves a repository
that is whole, and the next prune goes on where this one was.
"""

from __future__ import annotations

from collections.abc import Collection

from backups.engine.errors import Canceled
from backups.engine.layout import DATA, INDEX
from backups.engine.newpacks import NewPacks
from backups.engine.prune_plan import PruneOptions, PrunePlan, PruneReport, plan_prune
from backups.engine.reindex import FULL, rewrite_index
from backups.engine.repository import Repository
from backups.engine.sweep import sweep
from backups.engine.transfer import TransferOptions, transfer
from backups.engine.watch import Watch

_MANY_INDEXES = 32


def prune(
    repository: Repository,
    options: PruneOptions | None = None,
    *,
    dry_run: bool = False,
    forgotten: Collection[str] = (),
    watch: Watch | None = None,
) -> PruneReport:
    """Free what no snapshot needs, under the exclusive lock and with the index loaded.

    ``forgotten`` are snapshots removed a moment ago.  Raises Corrupt, BlobMissing or StoreError before anything is
    removed if something that is needed cannot be read or is not there; Canceled.
    """
    watch, options = watch or Watch(), options or PruneOptions()
    plan = plan_prune(repository, options, forgotten=forgotten, watch=watch)
    if not dry_run:
        execute(repository, plan, options, watch)
    return plan.report


def execute(repository: Repository, plan: PrunePlan, options: PruneOptions, watch: Watch) -> None:
    """Carry a plan out.  Each step leaves the repository whole, whatever happens in the next."""
    report = plan.report
    packs = repository.index.packs
    report.left_behind += len(sweep(repository, DATA, plan.unreferenced, watch, "removing unknown packs"))
    leaving = [*plan.repack, *plan.remove, *plan.missing]
    if not leaving and not _is_scattered(repository):
        return
    copies = NewPacks(repository)
    try:
        _copy(repository, plan, options, copies, watch)
        present = _reindex(repository, leaving, copies, watch)
    except Canceled:
        copies.keep()
        raise
    report.packs_written = len(copies.all)
    fresh = [(bytes.fromhex(name), header) for name, header in copies.all]
    repository.use_index(repository.index.without(leaving, fresh), present)
    there = {packs[number].hex() for number in (*plan.repack, *plan.remove)}
    report.left_behind += len(sweep(repository, DATA, there, watch, "removing packs"))


def _reindex(repository: Repository, leaving: list[int], copies: NewPacks, watch: Watch) -> set[str]:
    """Write the index without the packs that leave and with the copies; return the ids of all index objects."""
    packs = repository.index.packs
    names = {packs[number].hex() for number in leaving}
    expected = [name for pack_id in packs if (name := pack_id.hex()) not in names]
    expected += [name for name, _ in copies.all]
    return rewrite_index(repository, drop=names, fresh=copies.unsaved(), expect=expected, watch=watch).present


def _is_scattered(repository: Repository) -> bool:
    """Tell whether the index stands in so many objects that joining them helps every later run."""
    return len(repository.ids(INDEX)) > _MANY_INDEXES + 2 * len(repository.index) // FULL


def _copy(repository: Repository, plan: PrunePlan, options: PruneOptions, copies: NewPacks, watch: Watch) -> None:
    """Store what is still needed of the packs to be repacked in new ones."""
    if not plan.tasks:
        return
    settings = TransferOptions(
        codec=options.codec,
        pack_size=options.pack_size,
        compress_data=options.repack_uncompressed,
        workers=options.workers,
    )
    transfer(repository, repository, plan.tasks, copies.stored, options=settings, watch=watch, item="repacking")

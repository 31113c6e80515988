"""From a source to a snapshot.

The coordinator walks the top of the tree until there is work for every core, then helper processes take
whole folders (or batches of files) and store them with packs of their own.  It writes the index as packs
arrive, the trees above the shared-out folders at the end, and last the snapshot: from then on it exists.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backups.engine.archive_helper import (
    LAST_TASK,
    Helper,
    OpenFolder,
    Outbox,
    Spool,
    Unit,
    describe,
    do_unit,
    drop,
    send_spooled,
)
from backups.engine.blob import Codec
from backups.engine.errors import Canceled, NothingToSave, SourceProblem
from backups.engine.index_file import IndexWriter
from backups.engine.known import Known
from backups.engine.layout import INDEX, SNAPSHOTS
from backups.engine.names import quote_name
from backups.engine.pack import DEFAULT_PACK_SIZE, PackBuilder
from backups.engine.packer import Carrier, PackWriter
from backups.engine.pool import Handler, Pool, default_workers
from backups.engine.ports import CancelToken, Progress, Silent, Source, SourceFolder
from backups.engine.repository import Repository
from backups.engine.saver import Counts, Saver
from backups.engine.snapshot import Snapshot, Summary, encode_snapshot
from backups.engine.times import TimeFormatter

PROGRAM = "holdfast 0.1.0"
UNITS = 32
"""Pieces of work to look for before helpers are started."""
BATCH_FILES = 256
BATCH_BYTES = 32 * 1024 * 1024
FEW_ENTRIES = 4096
"""A folder of at most this many items is compared with its parent by the coordinator itself."""
CHECKPOINT_SECONDS = 600
_FRAMES = 5000
"""Calls below one another: up to five for each of the 800 folders a source enters, and those of the caller."""


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """How a backup runs.

    ``codec`` compresses, ``pack_size`` is the target in bytes, ``workers`` helper processes (None = one a core,
    0 = none).  ``zone`` is the time zone of the trees (None = the process's own).  ``workspace`` takes packs on
    their way to a storage that helpers cannot reach by themselves.
    """

    codec: Codec = field(default_factory=Codec)
    pack_size: int = DEFAULT_PACK_SIZE
    dry_run: bool = False
    skip_if_unchanged: bool = False
    workers: int | None = None
    zone: str | None = None
    workspace: Path | None = None
    missing_packs: Sequence[str] = ()
    """Packs a check found missing: what they held is stored again."""


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What a snapshot says of itself besides its content.  ``time`` is RFC 3339 text."""

    time: str
    paths: Sequence[str]
    hostname: str
    username: str = ""
    uid: int = 0
    gid: int = 0
    excludes: Sequence[str] = ()
    tags: Sequence[str] = ()


@dataclass(slots=True)
class BackupResult:
    """What became of a backup.  ``snapshot_id`` is empty for a dry run, or where an unchanged source makes none."""

    snapshot_id: str = ""
    tree: str = ""
    parent: str = ""
    counts: Counts = field(default_factory=Counts)
    problems: list[tuple[str, str]] = field(default_factory=list)
    packs: int = 0
    stored_bytes: int = 0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every item was read as it should be."""
        return not self.problems


class Backup:
    """One run of a backup.  ``info`` carries time, host, paths and tags of the snapshot to be."""

    def __init__(
        self,
        repository: Repository,
        source: Source,
        info: SnapshotInfo,
        *,
        parent: Snapshot | None = None,
        options: BackupOptions = BackupOptions(),
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._repository = repository
        self._source = source
        self._info = info
        self._parent = parent
        self._options = options
        self._progress = progress or Silent()
        self._cancel = cancel or CancelToken()
        self._guard = guard
        self._result = BackupResult(parent=parent.id if parent else "")
        self._known: Known | None = None
        self._stored: list[tuple[str, bytes]] = []
        self._index_writer = IndexWriter(lambda payload: repository.save_object(INDEX, payload))
        self._checkpoint = time.monotonic()
        self._done = [0, 0]
        self._item = b""
        self._shown = 0.0
        previous = parent.summary if parent else None
        self._expected = (previous.total_files_processed, previous.total_bytes_processed) if previous else (0, 0)

    # ------------------------------------------------------------------ the run

    def run(self) -> BackupResult:
        """Do it.  The repository's lock must be held and its index loaded.

        Raises Canceled, NothingToSave, StoreError, LockLost; single items that cannot be read are in the
        result's ``problems`` instead.
        """
        began = time.monotonic()
        sys.setrecursionlimit(max(sys.getrecursionlimit(), _FRAMES))
        self._repository.exclude_missing_packs(self._options.missing_packs)
        workers = default_workers() if self._options.workers is None else self._options.workers
        self._known = Known(self._repository.index, shared=workers > 0)
        carrier = Carrier(self._repository, self._on_stored, threads=self._uploads())
        # Whoever can watch a local disk sees the files themselves; elsewhere packs are filled two at a time.
        packer = self._new_packer(self._deliver_to(carrier), spread=1 if self._direct else 2)
        saver = self._new_saver(packer, self._note, self._advance)
        try:
            tree_id = self._save(saver, packer, carrier, workers)
            packer.flush()
            carrier.drain()
            self._index_writer.flush()
            self._guard()
            self._cancel.check()
            self._finish(tree_id, saver.counts, began)
        except Canceled:
            # What is stored stays useful: the next run finds it in the index.
            carrier.drain()
            self._index_writer.flush()
            raise
        finally:
            saver.close()
            carrier.close()
        return self._result

    def _save(self, saver: Saver, packer: PackWriter, carrier: Carrier, workers: int) -> str:
        root = self._source.root(self._note)
        opened: list[OpenFolder] = []
        try:
            units = self._plan(saver, root, opened)
            if len(units) > 1 and workers:
                self._share_out(units, saver, packer, carrier, workers)
            else:
                for unit in units:
                    for slot, node in zip(unit.slots, do_unit(saver, unit), strict=True):
                        unit.where.nodes[slot] = node
            return self._close_folders(saver, opened)
        finally:
            for item in opened:
                item.folder.close()

    def _finish(self, tree_id: str, counts: Counts, began: float) -> None:
        result = self._result
        result.counts, result.tree = counts, tree_id
        result.seconds = time.monotonic() - began
        self._show(force=True)
        if self._options.dry_run:
            return
        if not (self._options.skip_if_unchanged and self._parent is not None and self._parent.tree == tree_id):
            result.snapshot_id = self._save_snapshot(tree_id, counts, began)
        if self._stored:
            self._repository.extend_index(self._stored, self._index_writer.saved)

    def _save_snapshot(self, tree_id: str, counts: Counts, began: float) -> str:
        zone = TimeFormatter(self._options.zone)
        end = time.time_ns()
        summary = Summary(
            backup_start=zone.format(end - int((time.monotonic() - began) * 1e9)),
            backup_end=zone.format(end),
            **{name: getattr(counts, name) for name in Counts.__struct_fields__},
        )
        info = self._info
        snapshot = Snapshot(
            time=info.time,
            tree=tree_id,
            parent=self._parent.id if self._parent else None,
            paths=list(info.paths),
            hostname=info.hostname,
            username=info.username,
            uid=info.uid,
            gid=info.gid,
            excludes=list(info.excludes),
            tags=list(info.tags),
            program_version=PROGRAM,
            summary=summary,
        )
        return self._repository.save_object(SNAPSHOTS, encode_snapshot(snapshot))

    # ------------------------------------------------------------------ sharing out

    def _plan(self, saver: Saver, root: SourceFolder, opened: list[OpenFolder]) -> list[Unit]:
        """Open the top of the tree, breadth first, until there are enough folders for all."""
        top = self._open(saver, root, b"", self._parent.tree if self._parent else None, None, 0)
        opened.append(top)
        units: list[Unit] = []
        waiting: deque[tuple[OpenFolder, int]] = deque()
        self._sort_items(saver, top, units, waiting)
        while waiting and len(waiting) + len(units) < UNITS and len(opened) < 4 * UNITS:
            where, slot = waiting.popleft()
            inner = self._enter(saver, where, slot)
            if inner is not None:
                opened.append(inner)
                self._sort_items(saver, inner, units, waiting)
        units.extend(Unit(where, [slot], 1 << 62) for where, slot in waiting)
        units.sort(key=lambda unit: -unit.weight)
        return units

    def _open(
        self, saver: Saver, folder: SourceFolder, path: bytes, old_id: str | None, above: OpenFolder | None, slot: int
    ) -> OpenFolder:
        entries = folder.entries()
        return OpenFolder(folder, path, saver.old_tree(old_id), old_id, entries, [None] * len(entries), above, slot)

    def _enter(self, saver: Saver, where: OpenFolder, slot: int) -> OpenFolder | None:
        entry = where.entries[slot]
        path = where.path + b"/" + entry.name
        old = where.old.nodes.get(quote_name(entry.name))
        try:
            folder = where.folder.enter(entry)
            return self._open(
                saver, folder, path, old.subtree if old is not None and old.type == "dir" else None, where, slot
            )
        except Exception as error:
            if not _is_item_error(error):
                raise
            self._note(path, error)
            return None

    def _sort_items(
        self, saver: Saver, where: OpenFolder, units: list[Unit], waiting: deque[tuple[OpenFolder, int]]
    ) -> None:
        """Put folders aside, finish what costs nothing, and make batches of the files."""
        few = len(where.entries) <= FEW_ENTRIES
        batch = Unit(where, [], 0)
        for slot, entry in enumerate(where.entries):
            if entry.kind == "dir":
                waiting.append((where, slot))
                continue
            if entry.kind != "file":
                where.nodes[slot] = saver.special_node(where.folder, entry, where.path + b"/" + entry.name)
                continue
            old = where.old.nodes.get(quote_name(entry.name)) if few else None
            kept = saver.kept(entry, old) if old is not None else None
            if kept is not None:
                where.nodes[slot] = saver.encode_kept(kept)
                continue
            batch.slots.append(slot)
            batch.weight += entry.size
            if len(batch.slots) >= BATCH_FILES or batch.weight >= BATCH_BYTES:
                units.append(batch)
                batch = Unit(where, [], 0)
        if batch.slots:
            units.append(batch)

    def _share_out(self, units: list[Unit], saver: Saver, packer: PackWriter, carrier: Carrier, workers: int) -> None:
        spool = None if self._direct else Spool(self._options.workspace, self._uploads() + workers)
        try:
            with Pool(
                lambda: self._helper(units, spool),
                workers,
                on_report=lambda report: self._on_report(report, carrier, spool),
                tick=self._tick,
            ) as pool:
                for number in range(len(units)):
                    pool.submit(number)
                for number, (nodes, counts) in pool.results():
                    unit = units[number]
                    for slot, node in zip(unit.slots, nodes, strict=True):
                        unit.where.nodes[slot] = node
                    saver.counts.add(counts)
                for left in pool.everywhere(LAST_TASK):
                    for builder in left:
                        packer.adopt(builder)
                carrier.drain()
        finally:
            if spool is not None:
                spool.close()

    def _close_folders(self, saver: Saver, opened: list[OpenFolder]) -> str:
        for item in reversed(opened[1:]):
            tree_id = saver.save_tree([node for node in item.nodes if node is not None], item.old)
            assert item.above is not None
            item.above.nodes[item.slot] = saver.encode_dir(item.folder.entry, tree_id, item.old_id)
        nodes = [node for node in opened[0].nodes if node is not None]
        if not nodes:
            raise NothingToSave("nothing of what was asked for could be read; an empty snapshot is not made")
        return saver.save_tree(nodes, opened[0].old)

    # ------------------------------------------------------------------ one helper process

    def _helper(self, units: list[Unit], spool: Spool | None) -> Handler:
        cancel = CancelToken()
        signal.signal(signal.SIGTERM, lambda *_: cancel.cancel())
        outbox = Outbox()
        carrier = Carrier(self._repository, outbox.stored, threads=1)
        if self._options.dry_run:
            deliver: Callable[[PackBuilder], None] = drop
        elif spool is not None:
            deliver = functools.partial(send_spooled, outbox, spool, self._repository)
        else:
            deliver = carrier.take
        packer = self._new_packer(deliver, spread=1)
        saver = self._new_saver(packer, outbox.problem, outbox.advance, cancel)
        return Helper(units, outbox, carrier, packer, saver, deliver, self._options.pack_size // 2)

    def _on_report(self, report: tuple[Any, ...], carrier: Carrier, spool: Spool | None) -> None:
        match report:
            case ("stored", pack_id, header, size):
                self._on_stored(pack_id, header, size)
            case ("spooled", path, pack_id, header):
                assert spool is not None
                carrier.run(lambda: spool.upload(self._repository, path, pack_id, header))
            case ("progress", files, size, item):
                self._advance(files, size, item)
            case ("problem", path, message):
                self._result.problems.append((path, message))
                self._progress.problem(path, message)

    # ------------------------------------------------------------------ small parts

    @property
    def _direct(self) -> bool:
        """Whether helpers store their packs themselves."""
        return self._repository.store.capabilities.forkable or self._options.dry_run

    def _uploads(self) -> int:
        if self._direct:
            return 1
        return min(16, self._repository.store.capabilities.connections or 4)

    def _deliver_to(self, carrier: Carrier) -> Callable[[PackBuilder], None]:
        return drop if self._options.dry_run else carrier.take

    def _new_packer(self, deliver: Callable[[PackBuilder], None], *, spread: int) -> PackWriter:
        options = self._options
        return PackWriter(self._repository, deliver, codec=options.codec, target=options.pack_size, spread=spread)

    def _new_saver(
        self,
        packer: PackWriter,
        problem: Callable[[bytes, Exception], None],
        advance: Callable[[int, int, bytes], None],
        cancel: CancelToken | None = None,
    ) -> Saver:
        assert self._known is not None
        return Saver(
            self._repository,
            self._known,
            packer,
            zone=self._options.zone,
            cancel=cancel or self._cancel,
            problem=problem,
            on_progress=advance,
            threads=default_workers(),
        )

    def _on_stored(self, pack_id: str, header: bytes, size: int) -> None:
        self._result.packs += 1
        self._result.stored_bytes += size
        self._stored.append((pack_id, header))
        self._index_writer.add(pack_id, header)

    def _note(self, path: bytes, error: Exception) -> None:
        text, message = describe(path, error)
        self._result.problems.append((text, message))
        self._progress.problem(text, message)

    def _advance(self, files: int, size: int, item: bytes) -> None:
        self._done[0] += files
        self._done[1] += size
        if item:
            self._item = item
        self._show()

    def _show(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._shown >= 0.25:
            self._shown = now
            if not force:
                self._guard()
            self._progress.update(
                files=self._done[0],
                bytes=self._done[1],
                total_files=self._expected[0],
                total_bytes=self._expected[1],
                item=os.fsdecode(self._item),
            )

    def _tick(self) -> None:
        self._cancel.check()
        self._show()
        if time.monotonic() - self._checkpoint > CHECKPOINT_SECONDS:
            self._checkpoint = time.monotonic()
            self._index_writer.flush()


def _is_item_error(error: Exception) -> bool:
    return isinstance(error, OSError | SourceProblem)


def backup(
    repository: Repository,
    source: Source,
    info: SnapshotInfo,
    *,
    parent: Snapshot | None = None,
    options: BackupOptions = BackupOptions(),
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    guard: Callable[[], None] = lambda: None,
) -> BackupResult:
    """Back up a source; see :class:`Backup`.  ``guard`` is called now and then and raises to stop (a lost lock)."""
    run = Backup(
        repository, source, info, parent=parent, options=options, progress=progress, cancel=cancel, guard=guard
    )
    return run.run()

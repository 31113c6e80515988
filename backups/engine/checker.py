"""Looks for damage and changes nothing: index, packs, the trees of all snapshots, and if asked every byte of data."""

from __future__ import annotations

import os
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import msgspec

from backups.engine.check_affected import Affected
from backups.engine.check_index import IndexCheck, PackFacts, pack_findings
from backups.engine.check_keys import key_findings
from backups.engine.check_packs import PackOutcome, PackReader, PackTask
from backups.engine.check_subset import Position, Subset
from backups.engine.check_trees import TreeOutcome, TreeWalk
from backups.engine.errors import BadRequest, Canceled, Corrupt
from backups.engine.findings import Finding
from backups.engine.layout import DATA
from backups.engine.pool import Handler, Pool, default_workers
from backups.engine.ports import CancelToken, Progress
from backups.engine.repository import Repository
from backups.engine.threads import ThreadPool
from backups.engine.watch import Watch
from destinations.storage.errors import StoreError

_FIRST_TREES = 500
"""Trees this process reads itself before helpers are worth their start."""
_BATCH = 128
_MOST_BATCH = 2048
_THREADS = 8
_SPELLED_OUT = 1000
"""Findings of one code that are reported one by one."""
_SUFFERING = frozenset(("blob-damaged", "blob-missing", "tree-missing", "tree-damaged", "tree-invalid"))


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How far a check goes.

    ``structure`` reads index, snapshots and trees.  ``read`` chooses packs to read whole.  ``position`` goes on
    where an earlier check of the same choice stopped.  ``deadline`` is the instant of ``clock`` (seconds) after
    which no further pack is begun.  ``workers`` (None = by storage and machine, 0 = none) are helper processes.
    """

    structure: bool = True
    read: Subset | None = None
    position: Position | None = None
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic
    workers: int | None = None


@dataclass(slots=True)
class CheckCounts:
    """How much was looked at, and how many findings of each severity there were."""

    index_objects: int = 0
    packs: int = 0
    snapshots: int = 0
    trees: int = 0
    blobs: int = 0
    packs_read: int = 0
    blobs_read: int = 0
    bytes_read: int = 0
    errors: int = 0
    hints: int = 0


@dataclass(slots=True)
class Check:
    """One check.  Take all of :meth:`findings`, then the other fields are filled.

    ``position`` is where to go on if the data was not read to its end, after an error too.  ``missing_packs`` are
    packs that are not there; the loaded index counts their blobs as unknown from then on, so that a backup
    stores them again.
    """

    repository: Repository
    options: CheckOptions = field(default_factory=CheckOptions)
    progress: Progress | None = None
    cancel: CancelToken | None = None
    counts: CheckCounts = field(default_factory=CheckCounts)
    position: Position | None = None
    missing_packs: list[str] = field(default_factory=list)
    _reported: Counter[str] = field(default_factory=Counter)
    _roots: dict[str, bytes] = field(default_factory=dict)

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong, each step's findings at its end.  Raises StoreError, Canceled.

        The caller holds a lock that keeps packs from being removed.
        """
        watch = Watch(self.progress, self.cancel)
        yield from self._spelled(self._prepare(watch))
        facts = PackFacts(self.repository.index)
        listed = self.repository.ids(DATA)
        found = list(pack_findings(self.repository, facts, listed))
        self.missing_packs = [finding.object_id for finding in found if finding.code == "pack-missing"]
        self.counts.packs = len(listed)
        if self.options.structure:
            found += self._structure(watch)
        yield from self._spelled(self._attributed(found, watch))
        if self.options.read is not None or self.options.position is not None:
            yield from self._data_findings(facts, listed, watch)

    # ------------------------------------------------------------------ snapshots and index

    def _prepare(self, watch: Watch) -> Iterator[Finding]:
        """Load snapshots, then the index: the other way round a new snapshot could seem to name unknown blobs."""
        damaged: list[Corrupt] = []
        for snapshot in self.repository.snapshots(damaged.append):
            self._roots[snapshot.id] = bytes.fromhex(snapshot.tree)
        self.counts.snapshots = len(self._roots)
        for error in damaged:
            text = f"snapshot {error.object_id} cannot be read: {error}"
            yield Finding("snapshot-damaged", "snapshot", error.object_id, text, (error.object_id,))
        unread: list[Corrupt] = []
        self.repository.load_index(unread.append)
        self.repository.index.compact()
        if not self.options.structure:
            for error in unread:
                yield Finding(
                    "index-damaged", "index", error.object_id, f"index {error.object_id} cannot be used: {error}"
                )
        else:
            yield from key_findings(self.repository)
            check = IndexCheck(self.repository)
            yield from check.findings(lambda: watch.step("reading the index", done=check.objects))
            self.counts.index_objects = check.objects

    # ------------------------------------------------------------------ trees

    def _structure(self, watch: Watch) -> list[Finding]:
        walk = TreeWalk(self.repository)
        found: dict[tuple[str, str], Finding] = {}
        first = walk.roots(self._roots.values())
        self._take_trees(first, found)
        waiting = first.left
        while waiting and self.counts.trees < _FIRST_TREES:
            watch.step("reading trees", done=self.counts.trees)
            outcome = walk.handle((waiting, _BATCH), lambda _: None)
            self._take_trees(outcome, found)
            waiting = outcome.left
        if waiting:
            self._walk_with_helpers(walk, waiting, found, watch)
        return list(found.values())

    def _walk_with_helpers(
        self, walk: TreeWalk, waiting: array[int], found: dict[tuple[str, str], Finding], watch: Watch
    ) -> None:
        pool, workers = self._pool(lambda: walk.twin().handle, watch)
        with pool:
            self._share_out(pool, waiting, workers)
            for _, outcome in pool.results():
                self._take_trees(outcome, found)
                watch.step("reading trees", done=self.counts.trees)
                self._share_out(pool, outcome.left, workers)

    @staticmethod
    def _share_out(pool: Pool | ThreadPool, waiting: array[int], workers: int) -> None:
        size = max(_BATCH, min(_MOST_BATCH, len(waiting) // (4 * workers)))
        for start in range(0, len(waiting), size):
            pool.submit((waiting[start : start + size], _MOST_BATCH))

    def _take_trees(self, outcome: TreeOutcome, found: dict[tuple[str, str], Finding]) -> None:
        self.counts.trees += outcome.trees
        self.counts.blobs += outcome.blobs
        for finding in outcome.findings:
            if len(found) < 10 * _SPELLED_OUT:
                found.setdefault((finding.code, finding.object_id), finding)
            else:
                self.counts.errors += 1
        self.counts.errors += outcome.more

    # ------------------------------------------------------------------ data

    def _data_findings(self, facts: PackFacts, listed: dict[str, int], watch: Watch) -> Iterator[Finding]:
        """Yield what reading finds; if that is stopped, first what was found till then."""
        found: list[Finding] = []
        try:
            for finding in self._data(facts, listed, watch):
                found.append(finding)
        except (Canceled, StoreError):
            yield from self._spelled(found)
            raise
        yield from self._spelled(self._attributed(found, watch))

    def _data(self, facts: PackFacts, listed: dict[str, int], watch: Watch) -> Iterator[Finding]:
        """Read packs in the order of their ids; note up to where all are done."""
        options = self.options
        if options.position is not None and options.position.repository != self.repository.id:
            raise BadRequest("the stored position belongs to a check of another repository")
        subset = options.position.subset if options.position else options.read or Subset()
        seed = options.position.seed if options.position else os.urandom(8).hex()
        after = options.position.after if options.position else ""
        packs = [
            (pack, listed[pack.hex()])
            for number, pack in enumerate(self.repository.index.packs)
            if facts.counts[number] and pack.hex() in listed
        ]
        chosen = [pack for pack in subset.choose(packs, seed) if pack.hex() > after]
        run = _Reading(chosen, sum(listed[pack.hex()] for pack in chosen))
        start = Position(self.repository.id, after, seed, subset.part, subset.parts, subset.percent, subset.size)
        self.position = run.position(start)
        pool, workers = self._pool(lambda: PackReader(self.repository.twin()).handle, watch)
        with pool:
            tasks = self._tasks(run, facts, listed)
            for _ in range(2 * workers):
                self._submit(pool, tasks)
            for task, outcome in pool.results():
                run.finish(self.repository.index.packs[task.pack])
                yield from self._take_pack(outcome)
                self.position = run.position(start)
                counts = self.counts
                watch.step(
                    "reading packs",
                    done=counts.packs_read,
                    total=len(chosen),
                    size=counts.bytes_read,
                    total_size=run.size,
                )
                self._submit(pool, tasks)

    def _tasks(self, run: _Reading, facts: PackFacts, listed: dict[str, int]) -> Iterator[PackTask]:
        for pack in run.chosen:
            if self.options.deadline is not None and self.options.clock() >= self.options.deadline:
                return
            number = self.repository.index.number(pack)
            assert number is not None
            yield PackTask(number, listed[pack.hex()], facts.counts[number])

    @staticmethod
    def _submit(pool: Pool | ThreadPool, tasks: Iterator[PackTask]) -> None:
        task = next(tasks, None)
        if task is not None:
            pool.submit(task)

    def _take_pack(self, outcome: PackOutcome) -> list[Finding]:
        self.counts.packs_read += 1
        self.counts.blobs_read += outcome.blobs
        self.counts.bytes_read += outcome.size
        return outcome.findings

    # ------------------------------------------------------------------ reporting

    def _attributed(self, found: list[Finding], watch: Watch) -> list[Finding]:
        """Add to each finding the snapshots that suffer from it."""
        blobs = {finding.object_id for finding in found if finding.code in _SUFFERING}
        packs = self.repository.index.excluded if any(finding.code == "pack-missing" for finding in found) else set()
        if not blobs and not packs:
            return found
        affected = Affected(self.repository, blobs, packs, lambda: watch.step("finding the snapshots concerned"))
        suffering: dict[str, list[str]] = {}
        for snapshot, root in self._roots.items():
            for name in affected.damage_of(root):
                suffering.setdefault(name, []).append(snapshot)
        return [
            replace(
                finding,
                snapshots=finding.snapshots or tuple(suffering.get(finding.object_id, ())),
                path=affected.paths.get(finding.object_id, b""),
            )
            for finding in found
        ]

    def _spelled(self, found: Iterator[Finding] | list[Finding]) -> Iterator[Finding]:
        """Count findings, and pass on the first thousand of each code."""
        for finding in found:
            if finding.severity == "error":
                self.counts.errors += 1
            else:
                self.counts.hints += 1
            self._reported[finding.code] += 1
            if self._reported[finding.code] <= _SPELLED_OUT:
                yield finding
            elif self._reported[finding.code] == _SPELLED_OUT + 1:
                text = f"there are more findings of the kind {finding.code}; they are only counted"
                yield Finding("too-many", finding.kind, "", text)

    def _pool(self, make_handler: Callable[[], Handler], watch: Watch) -> tuple[Pool | ThreadPool, int]:
        capabilities = self.repository.store.capabilities
        workers = self.options.workers
        if workers != 0 and not capabilities.forkable:
            threads = workers or min(capabilities.connections or _THREADS, _THREADS)
            return ThreadPool(make_handler, threads, tick=watch.check), threads
        count = default_workers() if workers is None else workers
        return Pool(make_handler, count, tick=watch.check), max(1, count)


class _Reading:
    """Packs to read, in order, and how many of the first ones are all done."""

    def __init__(self, chosen: list[bytes], size: int) -> None:
        self.chosen = chosen
        self.size = size
        self.done = 0
        self._finished: set[bytes] = set()

    def finish(self, pack: bytes) -> None:
        """Note a pack as done."""
        self._finished.add(pack)
        while self.done < len(self.chosen) and self.chosen[self.done] in self._finished:
            self._finished.discard(self.chosen[self.done])
            self.done += 1

    def position(self, start: Position) -> Position | None:
        """Return where to go on after the packs that are done; None after the last."""
        if self.done == len(self.chosen):
            return None
        return msgspec.structs.replace(start, after=self.chosen[self.done - 1].hex()) if self.done else start

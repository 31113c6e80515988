"""From a snapshot to a target: helpers take folders, large files are shared out among them, each byte is verified.

A file takes its name when all its blobs are there and match their ids; one that cannot be had whole is
reported, and whatever had its name before stays.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields

from backups.engine.errors import Canceled, TargetProblem
from backups.engine.pool import Handler, Pool, default_workers
from backups.engine.ports import CancelToken, Entry, Progress, Silent, Target
from backups.engine.repository import Repository
from backups.engine.restore_batch import raise_if_full
from backups.engine.restore_large import LargeFiles, is_large
from backups.engine.restore_rules import ITEM_ERRORS, Problem, RestoreOptions, joined
from backups.engine.restore_tasks import Content, Files, Hard, Links, Outcome, Piece, Spot, Task, Walk
from backups.engine.restore_worker import Worker
from backups.engine.threads import ThreadPool
from backups.engine.tree_path import find_tree

_FIRST_FOLDERS = 8
_GROUP_BYTES = 16 * 1024 * 1024
_GROUP_FILES = 500
_PROBLEMS_KEPT = 10_000
_SHOW_SECONDS = 0.25
_THREADS = 8


@dataclass(slots=True)
class RestoreResult:
    """What a restore did.  ``written`` bytes; ``problems`` holds the first ten thousand of ``failed`` items."""

    files: int = 0
    written: int = 0
    folders: int = 0
    others: int = 0
    links: int = 0
    unchanged: int = 0
    unchanged_bytes: int = 0
    skipped: int = 0
    deleted: int = 0
    failed: int = 0
    problems: list[Problem] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for is there."""
        return not self.failed


_COUNTS = [f.name for f in fields(RestoreResult) if f.name not in ("failed", "problems", "seconds")]


def restore(
    repository: Repository,
    tree: str,
    target: Target,
    *,
    folder: bytes = b"",
    options: RestoreOptions | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    expected: tuple[int, int] = (0, 0),
) -> RestoreResult:
    """Restore what is below ``folder`` of the snapshot with this root tree.

    ``expected`` are the files and bytes to come, for the progress (0 = unknown).  The index is loaded.  Raises
    BadRequest for a folder that is not there, Corrupt if its own tree cannot be read, TargetFull, Canceled and
    StoreError; everything else that goes wrong is in the result.
    """
    began = time.monotonic()
    top = find_tree(repository, tree, folder)
    repository.load_tree(top)
    repository.index.settle()
    run = _Restore(
        repository, target, options or RestoreOptions(), progress or Silent(), cancel or CancelToken(), expected
    )
    result = run.run(Spot(b"", top, None, fresh=False))
    result.seconds = time.monotonic() - began
    return result


@dataclass(slots=True)
class _Names:
    """A file with several names: the one it is restored under, and those that become links to it."""

    first: bytes
    others: list[Hard] = field(default_factory=list)
    skipped: bool = False
    failed: bool = False


class _Restore:
    """One run: what is under way, and what waits until everything else is done."""

    def __init__(
        self,
        repository: Repository,
        target: Target,
        options: RestoreOptions,
        progress: Progress,
        cancel: CancelToken,
        expected: tuple[int, int],
    ) -> None:
        self._repository = repository
        self._target = target
        self._options = options
        self._progress = progress
        self._cancel = cancel
        self._expected = expected
        self._result = RestoreResult()
        self._stop = mmap.mmap(-1, 1)
        self._fatal: Exception | None = None
        self._under_way = 0
        self._leave: list[tuple[bytes, Entry]] = []
        self._names: dict[tuple[int, int, bytes], _Names] = {}
        self._firsts: dict[bytes, _Names] = {}
        self._shown = 0.0
        self._pool, self._workers = self._make_pool()
        self._large = LargeFiles(repository, target, options, self._submit)

    def run(self, top: Spot) -> RestoreResult:
        """Restore everything."""
        try:
            with self._pool:
                self._submit(Walk([top], _FIRST_FOLDERS))
                self._drain()
                while self._submit_links():
                    self._drain()
        finally:
            self._large.close()
            self._stop.close()
        self._cancel.check()
        for path, entry in sorted(self._leave, key=lambda item: item[0].count(b"/"), reverse=True):
            self._finish_folder(path, entry)
        self._show(at_once=True)
        return self._result

    # ------------------------------------------------------------------ helpers

    def _make_pool(self) -> tuple[Pool | ThreadPool, int]:
        workers = self._options.workers
        capabilities = self._repository.store.capabilities
        if workers != 0 and not (capabilities.forkable and self._target.forkable):
            threads = workers or min(capabilities.connections or _THREADS, _THREADS)
            return ThreadPool(self._make_handler, threads, tick=self._tick), threads
        count = default_workers() if workers is None else workers
        return Pool(self._make_handler, count, tick=self._tick), max(1, count)

    def _make_handler(self) -> Handler:
        return Worker(self._repository.twin(), self._target, self._options, self._make_stopped()).handle

    def _stopped(self) -> bool:
        return self._stop[0] != 0 or self._cancel.is_set

    def _make_stopped(self) -> Callable[[], bool]:
        """Return what a helper asks for every blob: one byte of shared memory, and with no helpers the token too."""
        if self._options.workers == 0:
            return self._stopped
        stop = self._stop
        return lambda: stop[0] != 0

    def _tick(self) -> None:
        if self._cancel.is_set or self._fatal is not None:
            self._stop[0] = 1

    def _submit(self, task: Task) -> None:
        self._under_way += 1
        self._pool.submit(task)

    def _drain(self) -> None:
        """Take results until nothing is under way; raise what ended the run."""
        for task, outcome in self._pool.results():
            self._under_way -= 1
            self._take(task, outcome)
        if self._fatal is not None:
            raise self._fatal
        if self._stopped():
            raise Canceled("stopped on request")

    # ------------------------------------------------------------------ results

    def _take(self, task: Task, outcome: Outcome) -> None:
        self._count(outcome)
        if not isinstance(task, Piece) or self._large.is_whole(task.number):
            for problem in outcome.problems:
                self._failed(problem)
        self._fatal = self._fatal or outcome.fatal
        self._tick()
        if isinstance(task, Files) and len(task.items) == 1 and outcome.skipped:
            self._note_skipped(joined(task.path, task.items[0][0].name))
        if self._stopped():
            return
        if isinstance(task, Piece):
            self._take_part(task, outcome)
        self._leave += outcome.leave
        for files in outcome.later:
            self._give_out(files.path, files.items)
        for hard in outcome.hard:
            self._take_hard(hard)
        self._share_folders(outcome.spots)
        self._show()

    def _count(self, outcome: Outcome) -> None:
        for name in _COUNTS:
            setattr(self._result, name, getattr(self._result, name) + getattr(outcome, name))

    def _failed(self, problem: Problem) -> None:
        self._result.failed += 1
        if len(self._result.problems) < _PROBLEMS_KEPT:
            self._result.problems.append(problem)
        names = self._firsts.get(problem.path)
        if names is not None:
            names.failed = True
        self._progress.problem(problem.path.decode("utf-8", "backslashreplace"), problem.reason)

    def _share_folders(self, spots: list[Spot]) -> None:
        """Cut what a helper left into as many tasks as are needed to keep all of them busy."""
        pieces = 1 if self._under_way >= 4 * self._workers else 2 * self._workers
        size = max(1, -(-len(spots) // pieces))
        for start in range(0, len(spots), size):
            self._submit(Walk(spots[start : start + size]))

    # ------------------------------------------------------------------ single files

    def _give_out(self, path: bytes, items: list[Content]) -> None:
        group: list[Content] = []
        size = 0
        for item in items:
            if is_large(item):
                self._begin_large(path, item)
                continue
            group.append(item)
            size += item[0].size
            if size >= _GROUP_BYTES or len(group) >= _GROUP_FILES:
                self._submit(Files(path, group))
                group, size = [], 0
        if group:
            self._submit(Files(path, group))

    def _begin_large(self, path: bytes, item: Content) -> None:
        out = Outcome()
        try:
            self._large.begin(path, item, out)
        except ITEM_ERRORS as error:
            self._item_failed(joined(path, item[0].name), error)
        self._count(out)
        if out.skipped:
            self._note_skipped(joined(path, item[0].name))

    def _take_part(self, task: Piece, outcome: Outcome) -> None:
        out = Outcome()
        try:
            self._large.part_done(task, outcome, out)
        except ITEM_ERRORS as error:
            self._item_failed(joined(task.path, task.entry.name), error)
        self._count(out)

    def _item_failed(self, path: bytes, error: Exception) -> None:
        raise_if_full(error)
        self._failed(Problem.of(path, error))

    # ------------------------------------------------------------------ files with several names

    def _take_hard(self, hard: Hard) -> None:
        names = self._names.get(hard.key)
        if names is not None:
            names.others.append(hard)
            return
        first = joined(hard.path, hard.item[0].name)
        self._names[hard.key] = self._firsts[first] = _Names(first)
        self._give_out(hard.path, [hard.item])

    def _note_skipped(self, path: bytes) -> None:
        names = self._firsts.get(path)
        if names is not None:
            names.skipped = True

    def _submit_links(self) -> bool:
        """Make the other names of files that are there; where the first one was skipped, restore under the next."""
        waiting = [names for names in self._names.values() if names.others]
        by_folder: dict[bytes, list[tuple[Entry, bytes]]] = {}
        for names in waiting:
            if names.skipped and not names.failed:
                hard = names.others.pop(0)
                names.first = joined(hard.path, hard.item[0].name)
                names.skipped = False
                self._firsts[names.first] = names
                self._give_out(hard.path, [hard.item])
                continue
            for hard in names.others:
                entry = hard.item[0]
                if names.failed:
                    path = joined(hard.path, entry.name)
                    self._failed(Problem(path, "the file it is another name of failed", TargetProblem.code))
                else:
                    by_folder.setdefault(hard.path, []).append((entry, names.first))
            names.others.clear()
        for path, links in by_folder.items():
            self._submit(Links(path, links))
        return bool(waiting)

    # ------------------------------------------------------------------ the end

    def _finish_folder(self, path: bytes, entry: Entry) -> None:
        try:
            folder = self._target.folder(path)
            try:
                folder.finish(entry)
            finally:
                folder.close()
        except ITEM_ERRORS as error:
            self._failed(Problem.of(path, error))

    def _show(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._shown >= _SHOW_SECONDS:
            self._shown = now
            result = self._result
            self._progress.update(
                files=result.files + result.unchanged + result.skipped,
                bytes=result.written + result.unchanged_bytes,
                total_files=self._expected[0],
                total_bytes=self._expected[1],
            )

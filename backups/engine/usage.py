"""Which blobs the snapshots need: every tree is read once, and what it names is marked.

A mark is one byte for each record of the index's table, in memory that forked helpers share, so ten million
blobs cost ten megabytes.  No tree is visited twice, so a repository cannot keep the walk busy for ever.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec

from backups.engine.blob import BlobType
from backups.engine.errors import BlobMissing, Corrupt
from backups.engine.layout import SNAPSHOTS, is_id
from backups.engine.lean import lean_decoder
from backups.engine.pool import Handler, Pool, Report, default_workers
from backups.engine.records import RECORD
from backups.engine.repository import Repository
from backups.engine.table import Table
from backups.engine.threads import ThreadPool
from backups.engine.watch import Watch

_FIRST_TREES = 250
"""Trees the calling process reads itself before helpers are worth their start."""
_BATCH = 128
_MAX_BATCH = 2048
_THREADS = 8


class _Node(msgspec.Struct, gc=False):
    type: str
    content: list[str] | None = None
    subtree: str | None = None


class _Tree(msgspec.Struct, gc=False):
    nodes: list[_Node]


class _Snapshot(msgspec.Struct):
    tree: str


_decode_tree = lean_decoder(_Tree)
_decode_snapshot = msgspec.json.Decoder(_Snapshot).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Usage:
    """The marks of one walk.  ``marks[n]`` is 1 if the blob whose first record has number ``n`` is needed."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.marks = mmap.mmap(-1, max(1, table.count))

    def number(self, kind: int, blob_id: bytes) -> int:
        """Return the number of a blob's first record.  Raises BlobMissing."""
        number = self.table.find(kind, blob_id)
        if number < 0:
            name = f"{'tree' if kind else 'data'} blob {blob_id.hex()}"
            raise BlobMissing(f"{name} is needed but in no pack of the index", kind="blob", object_id=blob_id.hex())
        return number

    def is_used(self, kind: int, blob_id: bytes) -> bool:
        """Tell whether a blob is known and needed."""
        number = self.table.find(kind, blob_id)
        return number >= 0 and self.marks[number] != 0

    def numbers(self) -> Iterator[int]:
        """Yield the first record's number of every needed blob."""
        position = self.marks.find(b"\x01")
        while position >= 0:
            yield position
            position = self.marks.find(b"\x01", position + 1)


def snapshot_trees(repository: Repository, ids: Iterable[str]) -> list[bytes]:
    """Return the root trees of these snapshots.  One that cannot be read raises Corrupt or StoreError."""
    roots: list[bytes] = []
    for name in ids:
        try:
            tree = _decode_snapshot(repository.load_object(SNAPSHOTS, name)).tree
        except _UNREADABLE as error:
            raise Corrupt(f"snapshot {name} is not the JSON of one", kind="snapshot", object_id=name) from error
        if not is_id(tree):
            raise Corrupt(f"snapshot {name} has no valid tree", kind="snapshot", object_id=name)
        roots.append(bytes.fromhex(tree))
    return roots


def used_by_snapshots(
    repository: Repository, *, forgotten: Collection[str] = (), watch: Watch | None = None, workers: int | None = None
) -> Usage:
    """Mark what all snapshots of the repository need.

    ``forgotten`` are snapshots removed a moment ago, which a slow storage may still list.  Anything that cannot
    be read raises Corrupt, BlobMissing or StoreError: the marks would not be whole.
    """
    names = sorted(repository.ids(SNAPSHOTS).keys() - set(forgotten))
    return find_used(repository, snapshot_trees(repository, names), watch=watch, workers=workers)


def find_used(
    repository: Repository, roots: Iterable[bytes], *, watch: Watch | None = None, workers: int | None = None
) -> Usage:
    """Mark everything below these trees, themselves included.

    ``workers`` is the number of helpers, 0 for none; None decides by the storage and the machine.  Helpers are
    processes, or threads where the storage cannot be shared with a forked child.
    Raises BlobMissing, Corrupt, StoreError, Canceled.
    """
    watch = watch or Watch()
    usage = Usage(repository.index.compact())
    walker = _Walker(repository, usage)
    waiting = walker.mark_trees(roots)
    count = _helpers(repository) if workers is None else workers
    visited = 0
    while waiting and (not count or visited < _FIRST_TREES):
        watch.step("reading trees", done=visited)
        seen, waiting = walker.walk(waiting, _BATCH)
        visited += seen
    if waiting:
        _walk_with_helpers(walker, waiting, count, visited, watch)
    return usage


def _helpers(repository: Repository) -> int:
    capabilities = repository.store.capabilities
    return default_workers() if capabilities.forkable else min(capabilities.connections or _THREADS, _THREADS)


def _walk_with_helpers(walker: _Walker, waiting: array[int], helpers: int, visited: int, watch: Watch) -> None:
    def make_handler() -> Handler:
        walk = walker.twin().walk

        def handle(task: array[int], _: Report) -> tuple[int, array[int]]:
            return walk(task, _MAX_BATCH)

        return handle

    kind = Pool if walker.is_forkable else ThreadPool
    with kind(make_handler, helpers, tick=watch.check) as pool:
        _share_out(waiting, helpers, pool.submit)
        for _, (seen, left) in pool.results():
            visited += seen
            watch.step("reading trees", done=visited)
            if left:
                _share_out(left, helpers, pool.submit)


def _share_out(waiting: array[int], workers: int, submit: Callable[[array[int]], None]) -> None:
    """Cut into pieces that are neither too small to send nor so large that the last one is waited for."""
    size = max(_BATCH, min(_MAX_BATCH, len(waiting) // (4 * workers)))
    for start in range(0, len(waiting), size):
        submit(waiting[start : start + size])


class _Walker:
    """Reads trees in waves, each in the order of the packs."""

    def __init__(self, repository: Repository, usage: Usage) -> None:
        self._repository = repository
        self._usage = usage

    @property
    def is_forkable(self) -> bool:
        """Whether a forked child can go on with the walk."""
        return self._repository.store.capabilities.forkable

    def twin(self) -> _Walker:
        """Return a walker with the same marks for another process or thread."""
        return _Walker(self._repository.twin(), self._usage)

    def mark_trees(self, roots: Iterable[bytes]) -> array[int]:
        """Mark root trees; return the numbers of those that were not marked before."""
        found: list[int] = []
        for root in roots:
            self._mark_tree(root, found)
        return array("I", found)

    def walk(self, trees: array[int], limit: int) -> tuple[int, array[int]]:
        """Visit marked trees and what is below them, at most ``limit``; return how many, and those left to visit."""
        visited = 0
        wave = self._by_place(trees)
        while wave:
            found: list[int] = []
            for position, number in enumerate(wave):
                if visited >= limit:
                    return visited, array("I", wave[position:] + found)
                self._visit(number, found)
                visited += 1
            wave = self._by_place(found)
        return visited, array("I")

    def _by_place(self, numbers: Iterable[int]) -> list[int]:
        records = self._usage.table.records()
        return sorted(numbers, key=lambda number: records[number * RECORD + 32 : number * RECORD + 40])

    def _visit(self, number: int, found: list[int]) -> None:
        tree_id = self._usage.table.key(number)[1]
        nodes = _decode_tree(self._repository.load_blob(BlobType.TREE, tree_id), tree_id.hex())
        try:
            for node in nodes:
                if node.content and node.type == "file":
                    self._mark_data(node.content)
                elif node.subtree and node.type == "dir":
                    self._mark_tree(bytes.fromhex(node.subtree), found)
        except ValueError as error:
            name = tree_id.hex()
            raise Corrupt(f"tree {name} names something by no valid id", kind="tree", object_id=name) from error

    def _mark_data(self, content: list[str]) -> None:
        marks, find = self._usage.marks, self._usage.table.find
        for text in content:
            blob_id = bytes.fromhex(text)
            if len(blob_id) != 32:
                raise ValueError(text)
            number = find(0, blob_id)
            marks[number if number >= 0 else self._usage.number(0, blob_id)] = 1

    def _mark_tree(self, tree_id: bytes, found: list[int]) -> None:
        if len(tree_id) != 32:
            raise ValueError(tree_id)
        number = self._usage.number(1, tree_id)
        if not self._usage.marks[number]:
            self._usage.marks[number] = 1
            found.append(number)

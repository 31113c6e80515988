"""How much snapshots hold, counted in the four ways of the format's own tool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Literal, NamedTuple

import msgspec

from backups.engine.blob import BlobType, stored_plain_size
from backups.engine.crypto import OVERHEAD
from backups.engine.errors import BlobMissing, Corrupt
from backups.engine.layout import is_id
from backups.engine.lean import lean_decoder
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot
from backups.engine.usage import find_used
from backups.engine.watch import Watch

Mode = Literal["restore-size", "files-by-contents", "blobs-per-file", "raw-data"]
MODES: tuple[Mode, ...] = ("restore-size", "files-by-contents", "blobs-per-file", "raw-data")


class Stats(msgspec.Struct, omit_defaults=True):
    """The figures; sizes in bytes, shares in percent.  Those that a mode does not count stay 0."""

    total_size: int
    snapshots_count: int
    total_file_count: int = 0
    total_blob_count: int = 0
    total_uncompressed_size: int = 0
    compression_ratio: float = 0.0
    compression_progress: float = 0.0
    compression_space_saving: float = 0.0


class _Node(msgspec.Struct, gc=False):
    name: str
    type: str
    size: int = 0
    inode: int = 0
    device_id: int = 0
    links: int = 0
    content: list[str] | None = None
    subtree: str | None = None


class _Tree(msgspec.Struct, gc=False):
    nodes: list[_Node]


_decode = lean_decoder(_Tree)


def stats(
    repository: Repository,
    snapshots: Sequence[Snapshot],
    mode: Mode = "restore-size",
    *,
    watch: Watch | None = None,
    workers: int | None = None,
) -> Stats:
    """Count over these snapshots, with the index loaded.

    ``restore-size`` is what restoring each of them writes; ``files-by-contents`` counts every content once;
    ``blobs-per-file`` every blob once in each file; ``raw-data`` every blob as it is stored.  Raises Corrupt,
    BlobMissing, StoreError, Canceled.
    """
    watch = watch or Watch()
    if mode == "raw-data":
        return _raw_data(repository, snapshots, watch, workers)
    reader = _Reader(repository, watch)
    roots = [snapshot.tree for snapshot in snapshots]
    if mode == "restore-size":
        return _restore_size(reader, roots)
    return _by_contents(reader, roots) if mode == "files-by-contents" else _blobs_per_file(reader, roots)


class _Reader:
    """Reads trees and tells how far it is."""

    def __init__(self, repository: Repository, watch: Watch) -> None:
        self.repository = repository
        self._watch = watch
        self._read = 0

    def nodes(self, tree: str) -> list[_Node]:
        """Return the nodes of a tree.  Raises Corrupt, BlobMissing, StoreError."""
        self._watch.step("reading trees", done=self._read)
        self._read += 1
        return _decode(self.repository.load_tree(tree), tree)


# ---------------------------------------------------------------------- restore-size


class _Link(NamedTuple):
    inode: int
    device: int
    size: int


class _Folder(msgspec.Struct):
    """A tree with everything below it.  Files that may be linked stand apart: each counts once in a snapshot."""

    files: int = 0
    size: int = 0
    links: list[_Link] = []
    below: list[str] = []
    linked: list[str] = []
    """The trees directly below that have such files somewhere."""


def _restore_size(reader: _Reader, roots: list[str]) -> Stats:
    known: dict[str, _Folder] = {}
    total = Stats(0, len(roots))
    for root in roots:
        folder = _sum_up(reader, root, known)
        total.total_file_count += folder.files
        total.total_size += folder.size + _linked_size(root, known)
    return total


def _sum_up(reader: _Reader, root: str, known: dict[str, _Folder]) -> _Folder:
    """Add up a tree from the bottom, every tree once however often it appears."""
    open_trees: dict[str, _Folder] = {}
    stack = [root]
    while stack:
        tree = stack[-1]
        if tree in known:
            stack.pop()
            continue
        folder = open_trees.get(tree)
        if folder is None:
            folder = open_trees[tree] = _own(reader.nodes(tree))
            missing = [child for child in folder.below if child not in known]
            if any(child in open_trees for child in missing):
                raise Corrupt(f"tree {tree} contains itself", kind="tree", object_id=tree)
            stack += dict.fromkeys(missing)
            if missing:
                continue
        for child in folder.below:
            folder.files += known[child].files
            folder.size += known[child].size
            if known[child].links or known[child].linked:
                folder.linked.append(child)
        known[tree] = open_trees.pop(tree)
        stack.pop()
    return known[root]


def _own(nodes: list[_Node]) -> _Folder:
    folder = _Folder(files=len(nodes))
    for node in nodes:
        if node.type == "dir":
            folder.size += node.size
            if node.subtree:
                folder.below.append(node.subtree)
        elif node.links == 1 or not node.inode:
            folder.size += node.size
        elif node.size:
            folder.links.append(_Link(node.inode, node.device_id, node.size))
    return folder


def _linked_size(root: str, known: dict[str, _Folder]) -> int:
    """Return the bytes of files that may be linked, each counted once below ``root``."""
    found: dict[tuple[int, int], int] = {}
    visited = {root}
    stack = [root]
    while stack:
        folder = known[stack.pop()]
        for link in folder.links:
            found.setdefault((link.inode, link.device), link.size)
        fresh = set(folder.linked) - visited
        visited |= fresh
        stack += fresh
    return sum(found.values())


# ---------------------------------------------------------------------- by contents


def _by_contents(reader: _Reader, roots: list[str]) -> Stats:
    total = Stats(0, len(roots))

    def count(_: str, node: _Node) -> None:
        total.total_file_count += 1
        total.total_size += node.size

    _each_content(reader, roots, count)
    return total


def _blobs_per_file(reader: _Reader, roots: list[str]) -> Stats:
    total = Stats(0, len(roots))
    blobs: dict[str, set[str]] = {}

    def count(path: str, node: _Node) -> None:
        if not node.content:
            return
        here = blobs.setdefault(path, set())
        for name in node.content:
            if name not in here:
                here.add(name)
                total.total_size += _plain_size(reader.repository, name)
                total.total_blob_count += 1

    _each_content(reader, roots, count)
    total.total_file_count = len(blobs)
    return total


def _plain_size(repository: Repository, name: str) -> int:
    place = repository.index.find(BlobType.DATA, bytes.fromhex(name)) if is_id(name) else None
    if place is None:
        raise BlobMissing(f"data blob {name[:80]} is in no pack of the index", kind="blob", object_id=name[:80])
    return stored_plain_size(place.length, place.plain_size)


def _each_content(reader: _Reader, roots: Iterable[str], count: Callable[[str, _Node], None]) -> None:
    """Call ``count(path, node)`` for the first node with each content, in the order of the trees.

    Folders and all else without content share one, the empty one, as in the format's own tool.
    """
    contents: set[bytes] = set()
    visited: set[str] = set()

    def enter(path: str, tree: str) -> list[tuple[str, _Node]]:
        if tree in visited:
            return []
        visited.add(tree)
        return [(f"{path}/{node.name}", node) for node in reversed(reader.nodes(tree))]

    for root in roots:
        waiting = enter("", root)
        while waiting:
            path, node = waiting.pop()
            key = sha256("".join(node.content or ()).encode()).digest()
            if key not in contents:
                contents.add(key)
                count(path, node)
            if node.type == "dir" and node.subtree:
                waiting += enter(path, node.subtree)


# ---------------------------------------------------------------------- raw data


def _raw_data(repository: Repository, snapshots: Sequence[Snapshot], watch: Watch, workers: int | None) -> Stats:
    roots = [bytes.fromhex(snapshot.tree) for snapshot in snapshots]
    usage = find_used(repository, roots, watch=watch, workers=workers)
    total = Stats(0, len(snapshots))
    packed = packed_plain = 0
    for number in usage.numbers():
        place = usage.table.location(number)
        total.total_blob_count += 1
        total.total_size += place.length
        plain = place.plain_size + OVERHEAD if place.plain_size else place.length
        total.total_uncompressed_size += plain
        if place.plain_size:
            packed += place.length
            packed_plain += plain
    if repository.version < 2:
        total.total_uncompressed_size = 0
    elif packed:
        total.compression_ratio = packed_plain / packed
    if total.total_uncompressed_size:
        total.compression_progress = packed_plain / total.total_uncompressed_size * 100
        total.compression_space_saving = (1 - total.total_size / total.total_uncompressed_size) * 100
    return total

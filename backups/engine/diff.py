"""What changed between two trees, with the marks of stock restic.

``+`` added, ``-`` removed, ``M`` content changed, ``T`` type changed, ``U`` only metadata changed (on request), and
``?`` behind ``M`` where the content differs although all metadata agrees: the sign of damage on the source's disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from backups.engine.errors import Corrupt
from backups.engine.times import parse_time
from backups.engine.tree import DIR, FILE, Node

LoadTree = Callable[[str], list[Node]]
"""The decoded tree with an id.  May raise ``Corrupt``; it is also the place to check for cancelling."""

OnDamage = Callable[[bytes, Corrupt], None]
"""Told the folder that could not be read, and why."""

BlobSize = Callable[[str, str], "int | None"]
"""Bytes of the content of a blob of type ``data`` or ``tree`` with an id; None if it is in no index."""

_Blob = tuple[str, str]


class TreeLoop(Corrupt):
    """A tree that contains itself: no writer can make one, so nothing in it is believed."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.  ``path`` starts at the root of the trees; a node is ``None`` where the item does not exist."""

    path: bytes
    mark: str
    before: Node | None
    after: Node | None

    @property
    def shown_path(self) -> bytes:
        """The path as lists show it: a folder ends with a slash."""
        node = self.after or self.before
        return self.path + b"/" if node is not None and node.type == DIR else self.path


@dataclass(slots=True)
class Counts:
    """How many items, and how many blobs of how many bytes that only one side needs."""

    files: int = 0
    dirs: int = 0
    others: int = 0
    data_blobs: int = 0
    tree_blobs: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Statistics:
    """Filled while a diff is read to its end.  Costs a walk through what did not change."""

    blob_size: BlobSize
    changed_files: int = 0
    added: Counts = field(default_factory=Counts)
    removed: Counts = field(default_factory=Counts)
    unsized_blobs: int = 0

    def count_item(self, counts: Counts, node: Node) -> None:
        if node.type == FILE:
            counts.files += 1
        elif node.type == DIR:
            counts.dirs += 1
        else:
            counts.others += 1

    def count_blobs(self, counts: Counts, blobs: set[_Blob]) -> None:
        for kind, blob_id in blobs:
            if kind == "data":
                counts.data_blobs += 1
            else:
                counts.tree_blobs += 1
            size = self.blob_size(kind, blob_id)
            if size is None:
                self.unsized_blobs += 1
            else:
                counts.bytes += size


@dataclass(slots=True)
class _Folder:
    """A folder that is being compared: its path, its two trees, and what is left to look at."""

    path: bytes
    before: str | None
    after: str | None
    pairs: Iterator[tuple[bytes, Node | None, Node | None]]


class _Differ:
    def __init__(self, load_tree: LoadTree, metadata: bool, statistics: Statistics | None, on_damage: OnDamage | None):
        self.load_tree = load_tree
        self.metadata = metadata
        self.statistics = statistics
        self.on_damage = on_damage
        self.blobs_before: set[_Blob] = set()
        self.blobs_after: set[_Blob] = set()
        self.common: set[str] = set()
        self.stack: list[_Folder] = []

    def run(self, before: str, after: str) -> Iterator[Change]:
        self.blobs_before.add(("tree", before))
        self.blobs_after.add(("tree", after))
        with self.tolerating(b""):
            self.enter(b"", before, after)
        while self.stack:
            folder = self.stack[-1]
            pair = next(folder.pairs, None)
            if pair is None:
                self.stack.pop()
                continue
            name, one, other = pair
            path = folder.path + b"/" + name
            mark = self.compare(one, other)
            if mark:
                yield Change(path, mark, one, other)
            self.descend(path, one, other)
        if self.statistics is not None:
            self.finish(self.statistics)

    def compare(self, one: Node | None, other: Node | None) -> str:
        if self.statistics is not None:
            self.blobs_before.update(_blobs_of(one))
            self.blobs_after.update(_blobs_of(other))
        if one is None or other is None:
            return self.one_sided(one, other)
        mark = "T" if one.type != other.type else ""
        if one.type == other.type == FILE and one.content != other.content:
            if self.statistics is not None:
                self.statistics.changed_files += 1
            unchanged = same_node(msgspec.structs.replace(one, content=other.content), other)
            return mark + ("M?" if unchanged else "M")
        if self.metadata and not same_node(one, other):
            mark += "U"
        return mark

    def one_sided(self, one: Node | None, other: Node | None) -> str:
        node = one or other
        if self.statistics is not None and node is not None:
            counts = self.statistics.added if one is None else self.statistics.removed
            self.statistics.count_item(counts, node)
        return "+" if one is None else "-"

    def descend(self, path: bytes, one: Node | None, other: Node | None) -> None:
        if any(node is not None and node.type != DIR for node in (one, other)):
            return
        with self.tolerating(path):
            before, after = (None if node is None else subtree_of(node) for node in (one, other))
            if before != after:
                self.enter(path, before, after)
            elif before is not None:
                self.common.add(before)

    def enter(self, path: bytes, before: str | None, after: str | None) -> None:
        if any((before and f.before == before) or (after and f.after == after) for f in self.stack):
            raise TreeLoop("a tree contains itself", kind="tree", object_id=before or after or "")
        self.stack.append(_Folder(path, before, after, iter(_pairs(self.load(before), self.load(after)))))

    @contextmanager
    def tolerating(self, path: bytes) -> Iterator[None]:
        try:
            yield
        except TreeLoop:
            raise
        except Corrupt as damage:
            if self.on_damage is None:
                raise
            self.on_damage(path, damage)

    def load(self, tree_id: str | None) -> list[Node]:
        return [] if tree_id is None else self.load_tree(tree_id)

    def finish(self, statistics: Statistics) -> None:
        """Count what only one side needs.  Blobs of folders that are the same on both sides are needed by both."""
        removed, added = self.blobs_before - self.blobs_after, self.blobs_after - self.blobs_before
        waiting, seen = list(self.common), set(self.common)
        while waiting and (removed or added):
            for node in self.load_tree(waiting.pop()):
                for blob in _blobs_of(node):
                    removed.discard(blob)
                    added.discard(blob)
                    if blob[0] == "tree" and blob[1] not in seen:
                        seen.add(blob[1])
                        waiting.append(blob[1])
        statistics.count_blobs(statistics.removed, removed)
        statistics.count_blobs(statistics.added, added)


def diff(
    load_tree: LoadTree,
    before: str,
    after: str,
    *,
    metadata: bool = False,
    statistics: Statistics | None = None,
    on_damage: OnDamage | None = None,
) -> Iterator[Change]:
    """The changes from one tree to another, folder by folder, in byte order of the names.

    Folders with the same tree are not read.  ``metadata`` asks for the mark ``U`` too.  Raises ``Corrupt`` for a tree
    that contains itself and, without ``on_damage``, for one that cannot be read.
    """
    return _Differ(load_tree, metadata, statistics, on_damage).run(before, after)


def same_node(one: Node, other: Node) -> bool:
    """Whether two nodes say the same; times are compared as instants.  Raises ``Corrupt``."""
    if one == other:
        return True
    times = ("mtime", "atime", "ctime")
    if any(parse_time(getattr(one, key)) != parse_time(getattr(other, key)) for key in times):
        return False
    return msgspec.structs.replace(one, mtime=other.mtime, atime=other.atime, ctime=other.ctime) == other


def subtree_of(node: Node) -> str:
    """The tree of a folder's node.  Raises ``Corrupt`` for a folder without one."""
    if node.subtree is None:
        raise Corrupt(f"the folder {node.name[:80]!a} has no tree", kind="tree")
    return node.subtree


def _pairs(before: list[Node], after: list[Node]) -> list[tuple[bytes, Node | None, Node | None]]:
    """Both sides by name.  Nothing guarantees that stored trees are sorted."""
    ones = {node.raw_name: node for node in before}
    others = {node.raw_name: node for node in after}
    return [(name, ones.get(name), others.get(name)) for name in sorted({*ones, *others})]


def _blobs_of(node: Node | None) -> list[_Blob]:
    if node is None:
        return []
    if node.type == FILE:
        return [("data", blob_id) for blob_id in node.content or ()]
    return [("tree", node.subtree)] if node.type == DIR and node.subtree is not None else []

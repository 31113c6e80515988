"""The second step of a check: every tree that a snapshot leads to is read once, and every blob it names looked up.

The walk is shared out among helpers; a mark for each record of the index, in memory they share, keeps a tree
from being read twice, so no repository can keep the walk busy for ever.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from backups.engine.blob import BlobType
from backups.engine.errors import BlobMissing, Corrupt
from backups.engine.findings import Finding
from backups.engine.pool import Report
from backups.engine.records import RECORD
from backups.engine.repository import Repository
from backups.engine.tree import FILE, MOST_NODES

_KINDS = frozenset(("file", "dir", "symlink", "dev", "chardev", "fifo", "socket"))
_KEPT = 1000


class _Node(msgspec.Struct, gc=False):
    name: str = ""
    type: str = ""
    content: list[str] | None = None
    subtree: str | None = None


class _Tree(msgspec.Struct, gc=False):
    nodes: list[_Node]


_decode = msgspec.json.Decoder(_Tree).decode


def decode_lean(data: bytes, tree_id: str) -> list[_Node]:
    """Return of a tree what a check needs.  Raises Corrupt."""
    if data.count(b"{") > MOST_NODES:
        raise Corrupt("a tree of more items than any folder has", kind="tree", object_id=tree_id)
    try:
        return _decode(data).nodes
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(f"not a tree: {error}", kind="tree", object_id=tree_id) from None


@dataclass(slots=True)
class TreeOutcome:
    """What one task saw: trees visited and left to visit, blobs looked up, and findings, some only counted."""

    trees: int = 0
    blobs: int = 0
    left: array[int] = field(default_factory=lambda: array("I"))
    findings: list[Finding] = field(default_factory=list)
    more: int = 0


class TreeWalk:
    """The marks, and the work on a batch of trees, named by the numbers of their records.

    The index has one table.  What lies in a pack that is excluded from it is no finding here: the pack is one.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._table = repository.index.table
        self._marks = mmap.mmap(-1, max(1, self._table.count))
        self._out = TreeOutcome()

    def twin(self) -> TreeWalk:
        """Return a walk with the same marks for another thread or process."""
        twin = TreeWalk.__new__(TreeWalk)
        twin._repository = self._repository.twin()
        twin._table, twin._marks, twin._out = self._table, self._marks, TreeOutcome()
        return twin

    def roots(self, trees: Iterable[bytes]) -> TreeOutcome:
        """Mark the root trees of snapshots; those to visit are in ``left``."""
        out = self._out = TreeOutcome()
        found: list[int] = []
        for tree in trees:
            self._enter(tree, found)
        out.left = array("I", found)
        return out

    def handle(self, task: tuple[array[int], int], _: Report) -> TreeOutcome:
        """Visit the trees of a task and those below them, up to its limit."""
        trees, limit = task
        out = self._out = TreeOutcome()
        wave = self._by_place(trees)
        while wave:
            found: list[int] = []
            for position, number in enumerate(wave):
                if out.trees >= limit:
                    out.left = array("I", wave[position:] + found)
                    return out
                self._visit(number, found)
                out.trees += 1
            wave = self._by_place(found)
        return out

    def _by_place(self, numbers: Iterable[int]) -> list[int]:
        records = self._table.records()
        return sorted(numbers, key=lambda number: records[number * RECORD + 32 : number * RECORD + 40])

    def _enter(self, tree: bytes, found: list[int]) -> None:
        number = self._table.find(BlobType.TREE, tree)
        if number < 0:
            name = tree.hex()
            self._find(Finding("tree-missing", "tree", name, f"tree {name} is in no pack of the index"))
        elif not self._marks[number]:
            self._marks[number] = 1
            found.append(number)

    def _visit(self, number: int, found: list[int]) -> None:
        tree_id = self._table.key(number)[1]
        name = tree_id.hex()
        try:
            data = self._repository.load_blob(BlobType.TREE, tree_id)
        except BlobMissing:
            return
        except Corrupt as error:
            self._find(Finding("tree-damaged", "tree", name, f"tree {name} cannot be read: {error}"))
            return
        try:
            nodes = decode_lean(data, name)
        except Corrupt as error:
            self._find(Finding("tree-invalid", "tree", name, f"tree {name}: {error}"))
            return
        ids: list[str] = []
        for node in nodes:
            content = node.content
            if node.type == FILE and content is not None and node.name:
                ids += content
            else:
                self._other(node, name, found)
        self._look_up(ids, name)

    def _other(self, node: _Node, tree: str, found: list[int]) -> None:
        """Go through anything but a proper file."""
        problem = ""
        if node.type not in _KINDS:
            problem = f"has the unknown type {node.type[:40]!a}"
        elif not node.name:
            problem = "has no name"
        elif node.type == "dir":
            below = _blob_id(node.subtree)
            if below is None:
                problem = "is a folder without a tree"
            else:
                self._enter(below, found)
        elif node.type == FILE:
            problem = "is a file without a list of its content"
        if problem:
            text = f"tree {tree}: the item {node.name[:80]!a} {problem}"
            self._find(Finding("tree-invalid", "tree", tree, text))

    def _look_up(self, ids: list[str], tree: str) -> None:
        joined = _joined_ids(ids)
        if joined is None:
            self._find(Finding("tree-invalid", "tree", tree, f"tree {tree}: a file names content by no valid id"))
            return
        self._out.blobs += len(ids)
        has = self._table.has
        for at in range(0, len(joined), 32):
            if not has(0, joined[at : at + 32]):
                name = joined[at : at + 32].hex()
                text = f"data blob {name}, which tree {tree} names, is in no pack of the index"
                self._find(Finding("blob-missing", "blob", name, text))

    def _find(self, finding: Finding) -> None:
        if len(self._out.findings) < _KEPT:
            self._out.findings.append(finding)
        else:
            self._out.more += 1


def _joined_ids(ids: list[str]) -> bytes | None:
    text = "".join(ids)
    if len(text) == 64 * len(ids) and (not ids or set(map(len, ids)) == {64}):
        try:
            return bytes.fromhex(text)
        except ValueError:
            return None
    return None


def _blob_id(text: str | None) -> bytes | None:
    return _joined_ids([text]) if text is not None else None

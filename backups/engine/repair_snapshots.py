"""Snapshots without what is lost: a tree is written anew where it names something that is not there any more.

Files lose the missing parts of their content, folders that cannot be read become empty, items of no known
type or with an impossible name go.  Trees that are whole keep their id.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import msgspec

from backups.engine.blob import BlobType, stored_plain_size
from backups.engine.edit import save_snapshot
from backups.engine.errors import Corrupt
from backups.engine.layout import SNAPSHOTS
from backups.engine.names import unquote_name
from backups.engine.newpacks import packing
from backups.engine.packer import PackWriter
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot
from backups.engine.sweep import sweep
from backups.engine.tree import (
    BLOCK,
    CHAR,
    DIR,
    EMPTY_TREE,
    FIFO,
    FILE,
    SOCKET,
    SYMLINK,
    Node,
    decode_tree,
    encode_node,
    encode_tree,
    safe_name,
)
from backups.engine.watch import Watch

_TYPES = frozenset((FILE, DIR, SYMLINK, BLOCK, CHAR, FIFO, SOCKET))
_TAG = "repaired"


class Change(msgspec.Struct, frozen=True):
    """One thing that was taken out, with the path where it was met first."""

    path: str
    what: str


class SnapshotRepair(msgspec.Struct):
    """What was done.  ``repaired`` are (old, new) snapshots; in a dry run the new ones have no id."""

    repaired: list[tuple[Snapshot, Snapshot]] = []
    lost: list[Snapshot] = []
    """Snapshots whose root cannot be read: there is nothing to repair."""
    changes: list[Change] = []
    removed: list[str] = []
    left_behind: list[str] = []


def repair_snapshots(
    repository: Repository,
    snapshots: Sequence[Snapshot],
    *,
    forget: bool = False,
    dry_run: bool = False,
    watch: Watch | None = None,
) -> SnapshotRepair:
    """Write these snapshots anew where they are damaged, under the exclusive lock and with the index loaded.

    What the index knows counts as there: repair the index first.  With ``forget`` the old snapshots are removed,
    lost ones too; without it they stay, and the new ones get the tag ``repaired``.  Raises StoreError with
    every old snapshot still there.
    """
    watch = watch or Watch()
    with packing(repository) as (packer, packs):
        mender = _Mender(repository, None if dry_run else packer, watch)
        mended = [(snapshot, mender.mend(snapshot.tree)) for snapshot in snapshots]
    packs.settle()
    result = SnapshotRepair(changes=mender.changes)
    for old, tree in mended:
        if tree is None:
            result.lost.append(old)
        elif tree != old.tree:
            result.repaired.append((old, _renewed(old, tree, forget=forget)))
    if not dry_run:
        _store(repository, result, forget=forget, watch=watch)
    return result


def _renewed(old: Snapshot, tree: str, *, forget: bool) -> Snapshot:
    tags = old.tags if forget or _TAG in old.tags else [*old.tags, _TAG]
    return msgspec.structs.replace(old, id="", tree=tree, original=old.id, tags=tags)


def _store(repository: Repository, result: SnapshotRepair, *, forget: bool, watch: Watch) -> None:
    watch.check()
    result.repaired = [(old, save_snapshot(repository, new)) for old, new in result.repaired]
    if forget:
        names = [old.id for old, _ in result.repaired] + [old.id for old in result.lost]
        result.left_behind = sweep(repository, SNAPSHOTS, names, watch, "removing snapshots")
        result.removed = [name for name in names if name not in set(result.left_behind)]


class _Open(msgspec.Struct):
    """A tree whose folders are being mended; ``changed`` once it differs from what was stored."""

    tree: str
    path: str
    nodes: list[Node]
    changed: bool
    waiting: list[Node]


class _Mender:
    """Mends trees from the bottom up; every tree once, however often it appears; without a packer none is stored."""

    def __init__(self, repository: Repository, packer: PackWriter | None, watch: Watch) -> None:
        self._repository = repository
        self._packer = packer
        self._watch = watch
        self._new: set[bytes] = set()
        self._known: dict[str, str | None] = {}
        self.changes: list[Change] = []

    def mend(self, root: str) -> str | None:
        """Return the id of the mended tree, the same if there is nothing wrong; None if it cannot be read."""
        stack: list[_Open] = []
        self._enter(root, "", stack)
        while stack:
            current = stack[-1]
            while current.waiting and self._descend(current, stack) is None:
                pass
            if stack[-1] is current:
                self._known[current.tree] = self._close(current)
                stack.pop()
        return self._known[root]

    def _enter(self, tree: str, path: str, stack: list[_Open]) -> None:
        """Open a tree for mending, or find out that it cannot be read."""
        self._watch.step("reading trees", done=len(self._known))
        try:
            nodes = decode_tree(self._repository.load_tree(tree), check_names=False)
        except Corrupt as error:
            self._known[tree] = None
            self.changes.append(Change(path or "/", f"the folder cannot be read: {error}"))
            return
        kept = [node for node in nodes if self._keeps(node, path)]
        changed = len(kept) != len(nodes)
        for node in kept:
            if node.type == FILE:
                changed |= self._mend_file(node, f"{path}/{node.name}")
        stack.append(_Open(tree, path, kept, changed, [node for node in kept if node.type == DIR]))

    def _keeps(self, node: Node, path: str) -> bool:
        try:
            safe_name(unquote_name(node.name))
        except Corrupt:
            self.changes.append(Change(path or "/", f"removed an item of the impossible name {node.name[:80]!a}"))
            return False
        if node.type not in _TYPES:
            self.changes.append(Change(f"{path}/{node.name}", f"removed, it has the unknown type {node.type[:40]!a}"))
            return False
        return True

    def _mend_file(self, node: Node, path: str) -> bool:
        """Leave out what is in no pack, and correct the size; tell whether anything changed."""
        content: list[str] = []
        size = 0
        for name in node.content or ():
            place = self._repository.index.find(BlobType.DATA, bytes.fromhex(name))
            if place is not None:
                content.append(name)
                size += stored_plain_size(place.length, place.plain_size)
        if node.content == content and node.size == size:
            return False
        lost = len(node.content or ()) - len(content)
        what = f"{lost} parts of the content are lost" if lost else f"the size was {node.size}, not {size} bytes"
        self.changes.append(Change(path, what))
        node.content, node.size = content, size
        return True

    def _descend(self, current: _Open, stack: list[_Open]) -> _Open | None:
        """Settle the next folder of a tree; return what has to be mended first, if anything."""
        node = current.waiting[-1]
        tree = node.subtree or ""
        if tree not in self._known:
            if any(above.tree == tree for above in stack):
                raise Corrupt(f"tree {tree} contains itself", kind="tree", object_id=tree)
            self._enter(tree, f"{current.path}/{node.name}", stack)
            if stack[-1] is not current:
                return stack[-1]
        current.waiting.pop()
        mended = self._known[tree]
        if mended is None:
            mended = self._save(EMPTY_TREE)
        if mended != node.subtree:
            node.subtree = mended
            current.changed = True
        return None

    def _close(self, current: _Open) -> str:
        if not current.changed:
            return current.tree
        return self._save(encode_tree([encode_node(node) for node in current.nodes]))

    def _save(self, tree: bytes) -> str:
        """Store a tree unless it is there; return its id."""
        name = sha256(tree).digest()
        if name not in self._new and not self._repository.index.has(BlobType.TREE, name):
            self._new.add(name)
            if self._packer is not None:
                self._packer.add(BlobType.TREE, name, tree)
        return name.hex()

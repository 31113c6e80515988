"""Finding items by pattern across many snapshots, and telling their versions apart.

Snapshots of one source share most of their trees.  What was found below a tree at a path is remembered, so that a tree
that appears at the same path in a hundred snapshots is read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from backups.engine.diff import LoadTree, OnDamage, TreeLoop, subtree_of
from backups.engine.errors import Corrupt
from backups.engine.patterns import Patterns
from backups.engine.times import parse_time
from backups.engine.tree import DIR, Node


@dataclass(frozen=True, slots=True)
class Match:
    """One item of one snapshot."""

    snapshot_id: str
    path: bytes
    node: Node


@dataclass(slots=True)
class Version:
    """One state of a path, and the snapshots that hold it, in the order they were searched."""

    path: bytes
    node: Node
    snapshot_ids: list[str] = field(default_factory=list)


# What was found in a tree: items of its own, and for folders below what was found there.
_Found = list["tuple[bytes, Node] | _Found"]
_NOTHING: _Found = []


@dataclass(slots=True)
class _Folder:
    """A folder that is being searched."""

    tree_id: str
    path: bytes
    nodes: Iterator[Node]
    above: _Found
    found: _Found = field(default_factory=list)


class Finder:
    """Searches snapshots one after the other and remembers what their common trees hold.

    ``wanted`` decides by path; ``oldest`` and ``newest`` limit the modification time, in nanoseconds since 1970.
    Without ``on_damage`` a tree that cannot be read raises ``Corrupt``; one that contains itself always does.
    """

    def __init__(
        self,
        load_tree: LoadTree,
        wanted: Patterns,
        *,
        oldest: int | None = None,
        newest: int | None = None,
        on_damage: OnDamage | None = None,
    ) -> None:
        self._load_tree = load_tree
        self._wanted = wanted
        self._oldest = oldest
        self._newest = newest
        self._on_damage = on_damage
        self._known: dict[tuple[str, bytes], _Found] = {}

    def search(self, snapshot_id: str, tree_id: str) -> Iterator[Match]:
        """The matching items of a snapshot with this root tree, each folder before its content."""
        waiting = [iter(self._below(tree_id))]
        while waiting:
            item = next(waiting[-1], None)
            if item is None:
                waiting.pop()
            elif isinstance(item, list):
                waiting.append(iter(item))
            else:
                yield Match(snapshot_id, *item)

    def _below(self, root: str) -> _Found:
        top: _Found = []
        stack: list[_Folder] = []
        self._enter(stack, root, b"", top)
        while stack:
            folder = stack[-1]
            node = next(folder.nodes, None)
            if node is None:
                self._leave(stack.pop())
                continue
            path = folder.path + b"/" + node.raw_name
            if self._wanted.matches(path) and self._in_time(node):
                folder.found.append((path, node))
            if node.type == DIR and self._wanted.may_match_below(path):
                self._enter(stack, node, path, folder.found)
        return top

    def _enter(self, stack: list[_Folder], tree: Node | str, path: bytes, above: _Found) -> None:
        try:
            tree_id = tree if isinstance(tree, str) else subtree_of(tree)
            if any(folder.tree_id == tree_id for folder in stack):
                raise TreeLoop("a tree contains itself", kind="tree", object_id=tree_id)
            known = self._known.get((tree_id, path))
            if known is None:
                stack.append(_Folder(tree_id, path, iter(self._load_tree(tree_id)), above))
            elif known:
                above.append(known)
        except TreeLoop:
            raise
        except Corrupt as damage:
            if self._on_damage is None:
                raise
            self._on_damage(path, damage)

    def _leave(self, folder: _Folder) -> None:
        self._known[folder.tree_id, folder.path] = folder.found or _NOTHING
        if folder.found:
            folder.above.append(folder.found)

    def _in_time(self, node: Node) -> bool:
        if self._oldest is None and self._newest is None:
            return True
        changed = parse_time(node.mtime)
        return (self._oldest is None or changed >= self._oldest) and (self._newest is None or changed <= self._newest)


def find(
    load_tree: LoadTree,
    snapshots: Iterable[tuple[str, str]],
    wanted: Patterns,
    *,
    oldest: int | None = None,
    newest: int | None = None,
    on_damage: OnDamage | None = None,
) -> Iterator[Match]:
    """All matching items of all snapshots, which are given as pairs of id and root tree.  See ``Finder``."""
    finder = Finder(load_tree, wanted, oldest=oldest, newest=newest, on_damage=on_damage)
    for snapshot_id, tree_id in snapshots:
        yield from finder.search(snapshot_id, tree_id)


def find_versions(
    load_tree: LoadTree,
    snapshots: Iterable[tuple[str, str]],
    wanted: Patterns,
    *,
    oldest: int | None = None,
    newest: int | None = None,
    on_damage: OnDamage | None = None,
) -> list[Version]:
    """Every distinct state of every matching path, by path and then in the order of the snapshots.

    Two states are one version if type, content, link target, modification time, mode and owner agree; for a folder the
    content is its tree.
    """
    versions: dict[tuple[bytes, object], Version] = {}
    states: dict[int, tuple[Node, object]] = {}
    for match in find(load_tree, snapshots, wanted, oldest=oldest, newest=newest, on_damage=on_damage):
        if id(match.node) not in states:  # the same object for every snapshot that shares its tree
            states[id(match.node)] = match.node, state_of(match.node)
        _, state = states[id(match.node)]
        version = versions.setdefault((match.path, state), Version(match.path, match.node))
        if not version.snapshot_ids or version.snapshot_ids[-1] != match.snapshot_id:
            version.snapshot_ids.append(match.snapshot_id)
    return sorted(versions.values(), key=lambda version: version.path)


def state_of(node: Node) -> tuple[object, ...]:
    """What makes two states of a path the same version."""
    content = tuple(node.content) if node.content is not None else None
    target = node.raw_target if node.linktarget else b""
    owner = (node.mode, node.uid, node.gid)
    return (node.type, content, node.subtree, target, node.device, parse_time(node.mtime), owner)

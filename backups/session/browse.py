"""Answers of a session about what a snapshot holds."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from backups.engine.blob import BlobType
from backups.engine.chunker import MIN_SIZE
from backups.engine.errors import BadRequest, Corrupt, EngineError, SnapshotMissing
from backups.engine.find import state_of
from backups.engine.repository import Repository
from backups.engine.times import parse_time
from backups.engine.tree import Node, decode_tree
from backups.engine.tree_path import find_node
from backups.session.events import say, say_list
from backups.session.folders import Folders, described
from backups.session.items import snapshot_of
from backups.session.spec import List, Read, Search, Versions
from backups.spelling import spell, unspell
from destinations.storage.errors import StoreError

_MOST = 500
_MOST_SINGLE = 40
_NANOSECONDS = 1_000_000_000


class Browser:
    """Answers from one open repository; remembers the root trees of snapshots and the folders last shown."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._roots: dict[str, str] = {}
        self._folders = Folders(repository)

    def listing(self, command: List) -> None:
        """Say a page of a folder: folders first."""
        self._fresh(lambda: self._listing(command))

    def search(self, command: Search) -> None:
        """Say the items whose name holds a text, whatever its case."""
        self._fresh(lambda: self._search(command))

    def versions(self, command: Versions) -> None:
        """Say the states of a path, newest first, and which of the snapshots hold each."""
        self._fresh(lambda: self._versions(command))

    def read(self, command: Read) -> None:
        """Say the beginning of a file."""
        self._fresh(lambda: self._read(command))

    def _fresh(self, answer: Callable[[], None]) -> None:
        """Answer; once more with a fresh index if that fails, as packs may have been rewritten meanwhile."""
        try:
            answer()
        except BadRequest:
            raise
        except (EngineError, StoreError):
            self._roots = {}
            self._repository.refresh_index()
            answer()

    def _listing(self, command: List) -> None:
        path = unspell(command.path).strip(b"/")
        tree = self._folders.at(self._root(command.snapshot), path)
        folder = self._folders.folder(tree)
        for _ in range(_MOST_SINGLE if command.open_single else 0):
            only = folder.items[0] if len(folder.items) == 1 else None
            if only is None or only.subtree is None:
                break
            path = path + b"/" + only.raw_name if path else only.raw_name
            folder = self._folders.folder(only.subtree)
        page = folder.page(command.start, min(command.count, _MOST), command.sort, down=command.down)
        entries = [described(item) for item in page]
        say_list("listed", command.item, entries, total=len(folder.items), path=spell(path))

    def _search(self, command: Search) -> None:
        wanted, until = command.text.casefold(), time.monotonic() + command.seconds
        found: list[dict[str, Any]] = []
        cut = False
        for path, item in self._folders.walk(self._root(command.snapshot), unspell(command.path).strip(b"/")):
            if wanted in item.name.casefold():
                found.append(described(item) | {"path": spell(path)})
            cut = len(found) >= min(command.count, _MOST) or time.monotonic() > until
            if cut:
                break
        say_list("listed", command.item, found, total=len(found), cut=cut, path=command.path)

    def _versions(self, command: Versions) -> None:
        path = unspell(command.path).strip(b"/")
        parts = path.split(b"/")
        known: dict[tuple[str, int], Node | None] = {}
        versions: dict[object, dict[str, Any]] = {}
        missing: list[str] = []
        for snapshot_id in command.snapshots:
            root = None
            with suppress(SnapshotMissing, Corrupt):
                root = self._root(snapshot_id)
            node = self._resolved(root, parts, 0, known)
            if node is None:
                missing.append(snapshot_id)
                continue
            version = versions.setdefault(state_of(node), _version(node))
            version["snapshots"].append(snapshot_id)
            version["marks"] |= {mark_of(node)}
        for version in versions.values():
            version["marks"] = sorted(version["marks"])
        say_list("versions", command.item, list(versions.values()), missing=len(missing))

    def _resolved(
        self, tree: str | None, parts: list[bytes], depth: int, known: dict[tuple[str, int], Node | None]
    ) -> Node | None:
        """Return the node of a path below a tree; trees that snapshots share are looked through once."""
        if tree is None:
            return None
        if (tree, depth) not in known:
            nodes = decode_tree(self._repository.load_tree(tree), check_names=False)
            node = next((node for node in nodes if node.raw_name == parts[depth]), None)
            if node is not None and depth + 1 < len(parts):
                node = self._resolved(node.subtree, parts, depth + 1, known)
            known[tree, depth] = node
        return known[tree, depth]

    def _read(self, command: Read) -> None:
        node = find_node(self._repository, self._root(command.snapshot), unspell(command.path))
        if node is None or node.type != "file" or node.content is None:
            raise BadRequest("that is not a file of this restore point")
        data = bytearray()
        for blob in node.content:
            if len(data) >= command.limit:
                break
            data += self._repository.load_blob(BlobType.DATA, bytes.fromhex(str(blob)))
        content = base64.b64encode(bytes(data[: command.limit])).decode()
        changed = parse_time(node.mtime) // _NANOSECONDS or None
        say("data", command.item, size=node.size, changed=changed, content=[content], cut=node.size > command.limit)

    def _root(self, snapshot_id: str) -> str:
        """Return the tree of a snapshot; the index is as new as the snapshot then."""
        root = self._roots.get(snapshot_id)
        if root is None:
            root = snapshot_of(self._repository, snapshot_id).tree
            self._repository.refresh_index()
            self._roots[snapshot_id] = root
        return root


def _version(node: Node) -> dict[str, Any]:
    return {
        "kind": node.type,
        "size": node.size if node.type == "file" else None,
        "changed": parse_time(node.mtime) // _NANOSECONDS or None,
        "snapshots": [],
        "marks": set(),
    }


def mark_of(node: Node) -> str:
    """Return what makes a state of a path the same in every repository.

    Each repository cuts files in its own places, so only a file of one piece is known by its content.  A larger one
    is known by what tells a backup that it did not change: size, times and inode.
    """
    state = state_of(node)
    if node.type == "file" and node.size > MIN_SIZE:
        state = (node.type, node.size, parse_time(node.mtime), parse_time(node.ctime), node.inode, *state[-1:])
    return hashlib.sha256(repr(state).encode()).hexdigest()[:32]

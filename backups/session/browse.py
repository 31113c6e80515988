"""Answers of a session about what a snapshot holds."""

from __future__ import annotations

import base64
import os
from functools import lru_cache
from typing import Any

from backups.engine.blob import BlobType
from backups.engine.errors import BadRequest
from backups.engine.find import find
from backups.engine.patterns import Patterns
from backups.engine.repository import Repository
from backups.engine.times import parse_time
from backups.engine.tree import Node, decode_tree, unix_mode
from backups.engine.tree_path import find_node, find_tree
from backups.session.events import say
from backups.session.spec import List, Read, Search

_MOST = 500


class Browser:
    """Answers from one open repository; remembers the root trees of snapshots and the folders last shown."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._roots: dict[str, str] = {}
        self._folder = lru_cache(maxsize=16)(self._read_folder)

    def listing(self, command: List) -> None:
        """Say a page of a folder: folders first, then by name."""
        tree = find_tree(self._repository, self._root(command.snapshot), os.fsencode(command.path))
        entries = self._folder(tree)
        page = entries[command.start : command.start + min(command.count, _MOST)]
        say("listed", command.item, total=len(entries), entries=[described(node) for node in page])

    def search(self, command: Search) -> None:
        """Say the items whose name holds a text, whatever its case."""
        root = find_tree(self._repository, self._root(command.snapshot), os.fsencode(command.path))
        plain = "".join("\\" + letter if letter in "*?[\\" else letter for letter in command.text)
        wanted = Patterns([f"*{plain}*"], ignore_case=True)
        found: list[dict[str, Any]] = []
        base = command.path.strip("/")
        for match in find(self._nodes, [(command.snapshot, root)], wanted):
            path = os.fsdecode(match.path).strip("/")
            found.append(described(match.node) | {"path": f"{base}/{path}".strip("/")})
            if len(found) >= min(command.count, _MOST):
                break
        say("listed", command.item, total=len(found), entries=found)

    def read(self, command: Read) -> None:
        """Say the beginning of a file."""
        node = find_node(self._repository, self._root(command.snapshot), os.fsencode(command.path))
        if node is None or node.type != "file" or node.content is None:
            raise BadRequest("that is not a file of this snapshot")
        data = bytearray()
        for blob in node.content:
            data += self._repository.load_blob(BlobType.DATA, bytes.fromhex(str(blob)))
            if len(data) >= command.limit:
                break
        content = base64.b64encode(bytes(data[: command.limit])).decode()
        say("data", command.item, node=described(node), content=[content], cut=node.size > command.limit)

    def _root(self, snapshot_id: str) -> str:
        if snapshot_id not in self._roots:
            self._roots = {snapshot.id: snapshot.tree for snapshot in self._repository.snapshots()}
            self._repository.load_index()
        if snapshot_id not in self._roots:
            raise BadRequest("this snapshot is not in the repository any more")
        return self._roots[snapshot_id]

    def _nodes(self, tree: str) -> list[Node]:
        return decode_tree(self._repository.load_tree(tree))

    def _read_folder(self, tree: str) -> list[Node]:
        return sorted(self._nodes(tree), key=lambda node: (node.type != "dir", node.name.casefold(), node.name))


def described(node: Node) -> dict[str, Any]:
    """Return what a page shows of an item."""
    return {
        "name": os.fsdecode(node.raw_name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
        "raw": base64.urlsafe_b64encode(node.raw_name).decode(),
        "kind": node.type,
        "size": node.size if node.type == "file" else None,
        "changed": parse_time(node.mtime) // 1_000_000_000,
        "mode": oct(unix_mode(node.mode) & 0o7777),
        "target": node.linktarget[:300],
    }

"""Folders of a snapshot as pages need them: decoded lean, sorted once for each order, and remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import msgspec

from backups.engine.errors import BadRequest, Corrupt
from backups.engine.lean import lean_decoder
from backups.engine.names import unquote_name
from backups.engine.repository import Repository
from backups.engine.times import parse_time
from backups.engine.tree import ZERO_TIME, safe_name, unix_mode
from backups.spelling import shown, spell

_KEPT = 400_000
"""Items of all remembered folders together."""
_NANOSECONDS = 1_000_000_000


class Item(msgspec.Struct, gc=False):
    """What a page shows of a node."""

    name: str
    type: str
    size: int = 0
    mode: int = 0
    mtime: str = ZERO_TIME
    linktarget: str = ""
    linktarget_raw: bytes | None = None
    subtree: str | None = None

    @property
    def raw_name(self) -> bytes:
        """The name's bytes.  Corrupt for one that names nothing of its folder."""
        return safe_name(unquote_name(self.name))

    def changed(self) -> int:
        """Return when it was changed, in seconds since 1970; 0 if that cannot be told."""
        try:
            return parse_time(self.mtime) // _NANOSECONDS
        except (ValueError, Corrupt):
            return 0


class _Tree(msgspec.Struct, gc=False):
    nodes: list[Item]


_decode = lean_decoder(_Tree)


class Folder:
    """The items of one tree, and the orders they were asked in."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self._orders: dict[tuple[str, bool], list[int]] = {}

    def page(self, start: int, count: int, sort: str, *, down: bool) -> list[Item]:
        """Return items from ``start`` on: folders first, then in the order of ``sort``."""
        order = self._orders.get((sort, down))
        if order is None:
            order = self._orders[sort, down] = self._ordered(sort, down=down)
        return [self.items[index] for index in order[start : start + count]]

    def child(self, raw: bytes) -> Item | None:
        """Return the item of a name."""
        text = raw.decode("utf-8", "replace")
        for item in self.items:
            if (item.name == text or "\\" in item.name) and item.raw_name == raw:
                return item
        return None

    def _ordered(self, sort: str, *, down: bool) -> list[int]:
        items = self.items
        types = [item.type for item in items]
        names = [item.name.lower() for item in items]
        folders = [index for index, kind in enumerate(types) if kind == "dir"] if "dir" in types else []
        others = [index for index, kind in enumerate(types) if kind != "dir"] if folders else list(range(len(items)))
        for group in (folders, others):
            group.sort(key=names.__getitem__, reverse=down and sort == "name")
        if sort == "size":
            sizes = [item.size for item in items]
            others.sort(key=sizes.__getitem__, reverse=down)
        elif sort == "date":
            moments = _moments(items)
            for group in (folders, others):
                group.sort(key=moments.__getitem__, reverse=down)
        return folders + others


def _moments(items: list[Item]) -> list[Any]:
    """Return what orders items by their time: texts of the same zone to the second, which is quick, or numbers."""
    texts = [item.mtime for item in items]
    if all(text[19:20] in ".Z" and text[-1:] == "Z" for text in texts):
        return [text[:19] for text in texts]
    return [item.changed() for item in items]


class Folders:
    """Reads trees of one repository and remembers the last ones."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._known: OrderedDict[str, Folder] = OrderedDict()
        self._size = 0

    def folder(self, tree: str) -> Folder:
        """Return the folder of a tree.  Corrupt, StoreError."""
        known = self._known.get(tree)
        if known is not None:
            self._known.move_to_end(tree)
            return known
        folder = Folder(self._repository.load_tree_as(tree, _decode))
        self._known[tree] = folder
        self._size += len(folder.items)
        while self._size > _KEPT and len(self._known) > 1:
            self._size -= len(self._known.popitem(last=False)[1].items)
        return folder

    def at(self, root: str, path: bytes) -> str:
        """Return the tree of the folder at ``path``.  BadRequest if there is none."""
        tree = root
        for part in path.split(b"/"):
            if not part:
                continue
            item = self.folder(tree).child(part)
            if item is None:
                raise BadRequest("this folder is not in this restore point")
            if item.subtree is None:
                raise BadRequest("that is a file, not a folder")
            tree = item.subtree
        return tree

    def walk(self, root: str, path: bytes) -> Iterator[tuple[bytes, Item]]:
        """Yield everything below a folder with its path, a folder before its content."""
        waiting = [(path, self.at(root, path))]
        while waiting:
            here, tree = waiting.pop()
            below: list[tuple[bytes, str]] = []
            for item in self.folder(tree).items:
                whole = here + b"/" + item.raw_name if here else item.raw_name
                yield whole, item
                if item.subtree is not None:
                    below.append((whole, item.subtree))
            waiting += reversed(below)


def described(item: Item) -> dict[str, object]:
    """Return what a page shows of an item; ``raw`` is the spelling of its name."""
    raw = item.raw_name
    target = item.linktarget_raw if item.linktarget_raw is not None else item.linktarget.encode("utf-8", "replace")
    return {
        "name": shown(raw),
        "raw": spell(raw),
        "kind": item.type,
        "size": item.size if item.type == "file" else None,
        "changed": item.changed() or None,
        "mode": f"{unix_mode(item.mode) & 0o7777:04o}",
        "target": shown(target)[:300],
    }

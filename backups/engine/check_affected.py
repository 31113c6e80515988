"""Which snapshots lose something by what a check found: a second walk, made only when there is damage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from backups.engine.blob import BlobType
from backups.engine.check_trees import decode_lean
from backups.engine.errors import Corrupt
from backups.engine.names import unquote_name
from backups.engine.repository import Repository

_UNKNOWN, _CLEAN, _AFFECTED = 0, 1, 2
_MOST = 2000
"""Damaged objects one tree is said to suffer from."""
Damage = frozenset[str]


@dataclass(slots=True)
class _Open:
    """A tree on the way down: what was found below it so far, and the folders in it still to visit."""

    number: int
    path: bytes
    below: Iterator[tuple[bytes, int]]
    damage: set[str] = field(default_factory=set)


class Affected:
    """Finds out what leads to damaged objects.

    ``blobs`` are ids in hexadecimal of trees and data blobs that are damaged or missing, ``packs`` the numbers
    of packs that are not there.  Damage is named by these ids, and packs by theirs.
    """

    def __init__(
        self, repository: Repository, blobs: Iterable[str], packs: Iterable[int], tick: Callable[[], None]
    ) -> None:
        self._repository = repository
        self._table = repository.index.table
        self._blobs = frozenset(bytes.fromhex(name) for name in blobs)
        self._packs = frozenset(packs)
        self._tick = tick
        self._states = bytearray(self._table.count)
        self._known: dict[int, Damage] = {}
        self.paths: dict[str, bytes] = {}
        """One path of an item that each damage concerns."""

    def damage_of(self, root: bytes) -> Damage:
        """Return what is damaged below a root tree, itself included."""
        number = self._table.find(BlobType.TREE, root)
        if number < 0:
            return frozenset((root.hex(),))
        if not self._states[number]:
            self._walk(number)
        return self._known.get(number, frozenset())

    def _walk(self, root: int) -> None:
        way = [self._opened(root, b"")]
        while way:
            here = way[-1]
            step = next(here.below, None)
            if step is not None:
                path, number = step
                if self._states[number]:
                    here.damage |= self._known.get(number, frozenset())
                else:
                    way.append(self._opened(number, path))
                continue
            way.pop()
            self._states[here.number] = _AFFECTED if here.damage else _CLEAN
            if here.damage:
                self._known[here.number] = frozenset(sorted(here.damage)[:_MOST])
            if way:
                way[-1].damage |= self._known.get(here.number, frozenset())

    def _opened(self, number: int, path: bytes) -> _Open:
        """Read a tree; note damage of its own and of its files, and which folders are to be visited."""
        self._tick()
        here = _Open(number, path, iter(()))
        tree_id = self._table.key(number)[1]
        self._note(here, BlobType.TREE, tree_id, path)
        try:
            nodes = decode_lean(self._repository.load_blob(BlobType.TREE, tree_id), tree_id.hex())
        except Corrupt:
            return here
        folders: list[tuple[bytes, int]] = []
        for node in nodes:
            try:
                below = path + b"/" + unquote_name(node.name)
                for name in node.content or () if node.type == "file" else ():
                    self._note(here, BlobType.DATA, bytes.fromhex(name), below)
                if node.type == "dir" and node.subtree:
                    subtree = bytes.fromhex(node.subtree)
                    found = self._table.find(BlobType.TREE, subtree)
                    if found >= 0:
                        folders.append((below, found))
                    else:
                        self._note(here, BlobType.TREE, subtree, below)
            except (Corrupt, ValueError):
                continue
        here.below = iter(folders)
        return here

    def _note(self, here: _Open, kind: BlobType, blob_id: bytes, path: bytes) -> None:
        found: list[str] = []
        if blob_id in self._blobs:
            found.append(blob_id.hex())
        number = self._table.find(kind, blob_id) if self._packs else -1
        if number >= 0:
            packs = [self._table.location(each).pack for each in self._table.same(number)]
            if all(pack in self._packs for pack in packs):
                found += [self._repository.index.packs[pack].hex() for pack in packs]
        for name in found:
            here.damage.add(name)
            self.paths.setdefault(name, path)

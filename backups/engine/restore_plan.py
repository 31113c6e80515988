"""What a restore would do, without doing it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from backups.engine.errors import Corrupt, TargetProblem, TooMany
from backups.engine.ports import CancelToken, Entry, Found, Target
from backups.engine.repository import Repository
from backups.engine.restore_rules import (
    ITEM_ERRORS,
    MAX_DEPTH,
    UNSTORED,
    Problem,
    RestoreOptions,
    entry_of,
    joined,
    looks_equal,
    name_of,
    stays,
)
from backups.engine.tree import Node, decode_tree
from backups.engine.tree_path import find_tree

Action = Literal["create", "replace", "unchanged", "keep", "delete"]


class Planned(NamedTuple):
    """One item and what would become of it.  ``size`` in bytes, of files only: the new one's, or the deleted one's.

    ``unchanged`` is judged by size and time alone; ``keep`` is something else the rules leave in place.
    """

    action: Action
    path: bytes
    kind: str
    size: int


@dataclass(slots=True)
class Plan:
    """The items of a plan as they are found, and after the last of them the problems met on the way."""

    repository: Repository
    tree: str
    target: Target | None
    folder: bytes = b""
    options: RestoreOptions = field(default_factory=RestoreOptions)
    cancel: CancelToken = field(default_factory=CancelToken)
    problems: list[Problem] = field(default_factory=list)
    most: int = 0
    """Items that are looked at, at most; 0 = any number.  A folder that stands in many places counts in each."""
    _seen: int = 0

    def __iter__(self) -> Iterator[Planned]:
        """Walk the snapshot.  ``target`` None stands for one that does not exist yet.

        Raises BadRequest, Corrupt, StoreError, Canceled, TooMany.
        """
        top = find_tree(self.repository, self.tree, self.folder)
        waiting = [(b"", top, self.target is not None)]
        while waiting:
            path, tree, there = waiting.pop()
            self.cancel.check()
            below: list[tuple[bytes, str, bool]] = []
            try:
                if path.count(b"/") >= MAX_DEPTH:
                    raise TargetProblem(f"lies more than {MAX_DEPTH} folders deep")
                nodes = decode_tree(self.repository.load_tree(tree), check_names=False)
                found = self._found(path) if there else {}
                self._seen += len(nodes) + 1
            except ITEM_ERRORS as error:
                self.problems.append(Problem.of(path, error))
                continue
            if self.most and self._seen > self.most:
                raise TooMany(f"it has more than {self.most:,} items")
            yield from self._items(path, nodes, found, below)
            waiting += reversed(below)

    def _found(self, path: bytes) -> dict[bytes, Found]:
        assert self.target is not None
        folder = self.target.folder(path)
        try:
            return folder.found()
        finally:
            folder.close()

    def _items(
        self, path: bytes, nodes: list[Node], found: dict[bytes, Found], below: list[tuple[bytes, str, bool]]
    ) -> Iterator[Planned]:
        names: set[bytes] = set()
        for node in nodes:
            here = joined(path, b"")
            try:
                name = name_of(node)
                here = joined(path, name)
                names.add(name)
                wanted, inside = self.options.select(here, node.type == "dir") if self.options.select else (True, True)
                if node.type == UNSTORED or not (wanted or (inside and node.type == "dir")):
                    continue
                entry = entry_of(node, name)
                there = found.get(name)
                if entry.kind != "dir":
                    yield self._item(here, entry, there)
                    continue
                if node.subtree is None:
                    raise Corrupt("a folder without a tree", kind="tree")
                if wanted and (there is None or there.kind != "dir"):
                    yield Planned("create" if there is None else "replace", here, "dir", 0)
                if inside:
                    below.append((here, node.subtree, there is not None and there.kind == "dir"))
            except ITEM_ERRORS as error:
                self.problems.append(Problem.of(here, error))
        if self.options.delete:
            yield from self._deleted(path, names, found)

    def _item(self, path: bytes, entry: Entry, there: Found | None) -> Planned:
        size = entry.size if entry.kind == "file" else 0
        action: Action = "replace"
        if there is None:
            action = "create"
        elif stays(there, entry, self.options.overwrite):
            action = "keep"
        elif looks_equal(there, entry):
            action = "unchanged"
        return Planned(action, path, entry.kind, size)

    def _deleted(self, path: bytes, names: set[bytes], found: dict[bytes, Found]) -> Iterator[Planned]:
        select = self.options.select
        for name, there in found.items():
            here = joined(path, name)
            if name not in names and (select is None or select(here, there.kind == "dir")[0]):
                yield Planned("delete", here, there.kind, there.size if there.kind == "file" else 0)

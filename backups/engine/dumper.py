"""A snapshot's file as a stream, or a folder of it as an archive: from the first byte to the last, read ahead.

What is written is verified before it is written.  A file that cannot be had whole is left out of an archive
and reported; if that shows only after its first bytes were written, the whole archive fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from backups.engine.errors import BadRequest, Corrupt, EngineError, TargetProblem
from backups.engine.ports import Archive, CancelToken, Progress, Selector
from backups.engine.readahead import Item, Part, ReadAhead, measured
from backups.engine.repository import Repository
from backups.engine.restore_rules import ITEM_ERRORS, MAX_DEPTH, UNSTORED, Problem, entry_of, joined, name_of
from backups.engine.tree import Node, decode_tree
from backups.engine.tree_path import find_node, find_tree
from backups.engine.watch import Watch


class Output(Protocol):
    """Where a file is written."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(slots=True)
class DumpResult:
    """What was written: items, the bytes of files, and what had to be left out."""

    items: int = 0
    written: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return not self.problems


def dump_file(
    repository: Repository,
    tree: str,
    path: bytes,
    out: Output,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> DumpResult:
    """Write the file at ``path`` of a snapshot to ``out``.

    Raises BadRequest if there is none, Corrupt if it cannot be had whole (what was written till then is right),
    StoreError, OSError, Canceled.
    """
    node = find_node(repository, tree, path)
    if node is None or node.type != "file":
        raise BadRequest(f"{path.decode('utf-8', 'backslashreplace')} is not a file of this snapshot")
    run = _Dump(repository, Watch(progress, cancel))
    item = measured(repository, Item(path, entry_of(node, name_of(node)), _content(node)))
    if item.failure is not None:
        raise item.failure
    with ReadAhead(repository) as reader:
        for part in reader.parts([item]):
            for plain in _sound(part):
                out.write(plain)
                run.wrote(plain)
    run.result.items = 1
    return run.result


def dump_folder(
    repository: Repository,
    tree: str,
    path: bytes,
    archive: Archive,
    *,
    select: Selector | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> DumpResult:
    """Write what is below the folder at ``path`` of a snapshot to an archive under its full paths, and close it.

    ``select`` is asked with paths below the folder.  Raises BadRequest if there is no such folder, Corrupt if a
    large file shows to be damaged half-way, StoreError, OSError, Canceled.
    """
    run = _Dump(repository, Watch(progress, cancel), archive, select)
    top = find_tree(repository, tree, path)
    repository.load_tree(top)
    with ReadAhead(repository) as reader:
        parts = reader.parts(run.items(top, path.strip(b"/")))
        for part in parts:
            run.add(part, parts)
    archive.close()
    return run.result


class _Dump:
    """One run of either verb."""

    def __init__(
        self, repository: Repository, watch: Watch, archive: Archive | None = None, select: Selector | None = None
    ) -> None:
        self._repository = repository
        self._watch = watch
        self._archive = archive
        self._select = select
        self.result = DumpResult()
        self._names: dict[tuple[int, int, bytes], bytes] = {}
        self._left_out: set[bytes] = set()

    def wrote(self, plain: bytes) -> None:
        """Count bytes; raise Canceled if it is time to stop."""
        self.result.written += len(plain)
        self._watch.step("writing", done=self.result.items, size=self.result.written)

    # ------------------------------------------------------------------ what there is

    def items(self, top: str, prefix: bytes) -> Iterator[Item]:
        """Yield everything below a tree, each folder before what is in it."""
        waiting = [iter(self._folder(top, b"", prefix))]
        while waiting:
            found = next(waiting[-1], None)
            if found is None:
                waiting.pop()
                continue
            item, tree = found
            if item is not None:
                yield item
            if tree is not None:
                path, below = tree
                waiting.append(iter(self._folder(below, path, prefix)))

    def _folder(self, tree: str, path: bytes, prefix: bytes) -> Iterator[tuple[Item | None, tuple[bytes, str] | None]]:
        """Yield each item of a folder, and for folders among them (path, tree)."""
        try:
            if path.count(b"/") >= MAX_DEPTH:
                raise TargetProblem(f"lies more than {MAX_DEPTH} folders deep")
            nodes = decode_tree(self._repository.load_tree(tree), check_names=False)
        except ITEM_ERRORS as error:
            self._leave_out(joined(prefix, path), error)
            return
        for node in nodes:
            here = joined(path, b"")
            try:
                name = name_of(node)
                here = joined(path, name)
                wanted, inside = self._select(here, node.type == "dir") if self._select else (True, True)
                below = (here, node.subtree) if inside and node.type == "dir" and node.subtree is not None else None
                item = self._item(node, name, joined(prefix, here)) if wanted and node.type != UNSTORED else None
            except ITEM_ERRORS as error:
                self._leave_out(joined(prefix, here), error)
                continue
            if item is not None or below is not None:
                yield item, below

    def _item(self, node: Node, name: bytes, path: bytes) -> Item:
        item = Item(path, entry_of(node, name), _content(node))
        if item.entry.kind == "file" and item.entry.links > 1 and self._archive and self._archive.holds_links:
            key = (item.entry.inode, item.entry.device, sha256(item.content).digest())
            item.same_as = self._names.setdefault(key, path)
            if item.same_as != path:
                item.content = b""
                return item
            item.same_as = b""
        return measured(self._repository, item)

    # ------------------------------------------------------------------ writing

    def add(self, part: Part, following: Iterator[Part]) -> None:
        """Write an item whose first part this is; the others are taken from ``following``."""
        assert self._archive is not None
        self._watch.check()
        item = part.item
        failure: Exception | None = item.failure
        failure = failure or next((blob for blob in part.blobs if isinstance(blob, EngineError)), None)
        if item.same_as and item.same_as in self._left_out:
            failure = TargetProblem("the file it is another name of had to be left out")
        if failure is None:
            try:
                self._archive.add(
                    item.path, item.entry, size=item.size, data=self._data(part, following), same_as=item.same_as
                )
            except TargetProblem as error:
                failure = error
        if failure is None:
            self.result.items += 1
            return
        self._leave_out(item.path, failure)
        while not part.last:
            part = next(following)

    def _data(self, part: Part, following: Iterator[Part]) -> Iterator[bytes]:
        while True:
            for plain in _sound(part):
                yield plain
                self.wrote(plain)
            if part.last:
                return
            part = next(following)

    def _leave_out(self, path: bytes, error: Exception) -> None:
        problem = Problem.of(path, error)
        self._left_out.add(path)
        self.result.problems.append(problem)
        self._watch.problem(path.decode("utf-8", "backslashreplace"), error)


def _content(node: Node) -> bytes:
    """Return the ids of a file's blobs; what a stranger wrote into another kind of node is not its content."""
    return bytes.fromhex("".join(node.content or ())) if node.type == "file" else b""


def _sound(part: Part) -> Iterator[bytes]:
    """Yield the blobs of a part.  Raises Corrupt for one that cannot be had."""
    for blob in part.blobs:
        if not isinstance(blob, bytes):
            raise Corrupt(f"{part.item.path.decode('utf-8', 'backslashreplace')}: {blob}", kind="blob") from blob
        yield blob

"""What a helper of a restore does: it walks folders, writes the small files in them, and gives back the rest."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from backups.engine.errors import Corrupt, EngineError, TargetProblem
from backups.engine.pool import Report
from backups.engine.ports import Entry, Found, OldFile, Target, TargetFolder
from backups.engine.repository import Repository
from backups.engine.restore_batch import ID, Batch, raise_if_full
from backups.engine.restore_rules import (
    ITEM_ERRORS,
    MAX_DEPTH,
    UNSTORED,
    Problem,
    RestoreOptions,
    entry_of,
    joined,
    looks_equal,
    may_write,
    name_of,
    stays,
)
from backups.engine.restore_tasks import Content, Files, Hard, Links, Outcome, Piece, Spot, Task, Walk
from backups.engine.tree import Node, decode_tree
from destinations.storage.errors import StoreError

_LATER = 4 * 1024 * 1024
"""Bytes; larger files are given back, to be shared out."""
_LATER_BLOBS = 64
_GIVEN_BACK = 50_000
"""Files a helper gives back from one folder at most; it writes the others itself."""


@dataclass(slots=True)
class _Visit:
    """A folder while its items are gone through."""

    spot: Spot
    folder: TargetFolder | None = None
    there: dict[bytes, Found] = field(default_factory=dict)
    names: set[bytes] = field(default_factory=set)
    later: list[Content] = field(default_factory=list)
    deferred: bool = False
    whole: bool = True


class Worker:
    """Does tasks of one restore.  ``stopped`` is asked often: the run may have been canceled."""

    def __init__(
        self, repository: Repository, target: Target, options: RestoreOptions, stopped: Callable[[], bool]
    ) -> None:
        self._repository = repository
        self._target = target
        self._options = options
        self._stopped = stopped
        self._out = Outcome()
        self._batch = Batch(repository, options, self._warn, stopped)

    def handle(self, task: Task, _: Report) -> Outcome:
        """Do a task.  What ends the whole run is in the outcome, so that others may end theirs cleanly."""
        out = self._out = Outcome()
        self._batch = Batch(self._repository, self._options, self._warn, self._stopped)
        try:
            if isinstance(task, Walk):
                self._walk(task)
            elif isinstance(task, Files):
                self._files(task)
            elif isinstance(task, Links):
                self._links(task)
            else:
                self._piece(task)
        except (EngineError, StoreError) as error:
            out.fatal = error
        out.files += self._batch.files
        out.written += self._batch.bytes
        return out

    def _warn(self, problem: Problem) -> None:
        self._out.problems.append(problem)

    def _fail(self, path: bytes, error: Exception) -> None:
        raise_if_full(error)
        self._warn(Problem.of(path, error))

    # ------------------------------------------------------------------ folders

    def _walk(self, task: Walk) -> None:
        waiting = task.spots[::-1]
        visits: list[_Visit] = []
        batch = self._batch
        try:
            while waiting and len(visits) < task.folders and not self._stopped():
                if batch.is_full:
                    break
                visit = _Visit(waiting.pop())
                visits.append(visit)
                waiting += reversed(self._visit(visit))
            batch.run()
            for visit in visits:
                self._leave(visit)
        finally:
            for visit in visits:
                if visit.folder is not None:
                    visit.folder.close()
        self._out.spots = waiting[::-1]

    def _visit(self, visit: _Visit) -> list[Spot]:
        """Restore the items of a folder; return the folders among them."""
        spot = visit.spot
        below: list[Spot] = []
        if spot.path.count(b"/") >= MAX_DEPTH:
            self._warn(Problem(spot.path, f"lies more than {MAX_DEPTH} folders deep", TargetProblem.code))
            return below
        try:
            if not spot.above:
                self._open(visit)
            nodes = decode_tree(self._repository.load_tree(spot.tree), check_names=False)
        except ITEM_ERRORS as error:
            visit.whole = False
            self._fail(spot.path, error)
            return below
        for node in nodes:
            self._item(visit, node, below)
        return below

    def _open(self, visit: _Visit) -> TargetFolder:
        """Open the folder, after making those above it that had waited for something wanted in them."""
        if visit.folder is None:
            for path, entry in visit.spot.above:
                parent, _, name = path.rpartition(b"/")
                holder = self._target.folder(parent)
                try:
                    if holder.make_folder(name):
                        self._out.folders += 1
                        self._out.leave.append((path, entry))
                finally:
                    holder.close()
            visit.folder = self._target.folder(visit.spot.path, fresh=visit.spot.fresh)
            if not visit.folder.fresh:
                visit.there = visit.folder.found()
        return visit.folder

    def _item(self, visit: _Visit, node: Node, below: list[Spot]) -> None:
        path = joined(visit.spot.path, b"")
        try:
            name = name_of(node)
            path = joined(visit.spot.path, name)
            visit.names.add(name)
            if node.type == UNSTORED:
                return
            wanted, inside = True, True
            if self._options.select is not None:
                wanted, inside = self._options.select(path, node.type == "dir")
                if not wanted and not (inside and node.type == "dir"):
                    return
            entry = entry_of(node, name)
            if entry.kind == "dir":
                spot = self._folder(visit, path, entry, node.subtree, wanted=wanted)
                if inside:
                    below.append(spot)
                else:
                    self._out.leave.append((path, entry))
            elif entry.kind == "file":
                self._file(visit, path, entry, bytes.fromhex("".join(node.content or ())))
            else:
                self._other(visit, path, entry)
        except ITEM_ERRORS as error:
            self._fail(path, error)

    def _folder(self, visit: _Visit, path: bytes, entry: Entry, tree: str | None, *, wanted: bool) -> Spot:
        if tree is None:
            raise Corrupt("a folder without a tree", kind="tree")
        if not wanted:
            return Spot(path, tree, None, False, (*visit.spot.above, (path, entry)))
        folder = self._open(visit)
        there = visit.there.get(entry.name)
        if there is not None and there.kind != "dir" and stays(there, entry, self._options.overwrite):
            raise TargetProblem("something else stands where a folder belongs, and was not to be replaced")
        made = folder.make_folder(entry.name) if there is None or there.kind != "dir" else False
        self._out.folders += 1
        return Spot(path, tree, entry, made)

    def _leave(self, visit: _Visit) -> None:
        """Remove what does not belong here, and give the folder its metadata if nothing more comes into it."""
        spot, folder = visit.spot, visit.folder
        if folder is None or self._stopped():
            return
        if self._options.delete and visit.whole:
            self._delete(visit, folder)
        if visit.later:
            self._out.later.append(Files(spot.path, visit.later))
        if spot.entry is None:
            return
        blocks_way = os.geteuid() and not spot.entry.mode & 0o100
        if visit.deferred or visit.later or blocks_way:
            self._out.leave.append((spot.path, spot.entry))
            return
        try:
            folder.finish(spot.entry)
        except ITEM_ERRORS as error:
            self._fail(spot.path, error)

    def _delete(self, visit: _Visit, folder: TargetFolder) -> None:
        select = self._options.select
        for name, there in visit.there.items():
            path = joined(visit.spot.path, name)
            if name in visit.names or (select is not None and not select(path, there.kind == "dir")[0]):
                continue
            try:
                self._out.deleted += folder.remove(name)
            except ITEM_ERRORS as error:
                self._fail(path, error)

    # ------------------------------------------------------------------ items

    def _other(self, visit: _Visit, path: bytes, entry: Entry) -> None:
        folder = self._open(visit)
        if self._may_write(folder, visit.there.get(entry.name), entry):
            if folder.make(entry):
                self._out.others += 1
            else:
                self._out.skipped += 1

    def _file(self, visit: _Visit, path: bytes, entry: Entry, content: bytes) -> None:
        if entry.links > 1 and entry.inode:
            key = (entry.inode, entry.device, sha256(content).digest())
            self._out.hard.append(Hard(key, visit.spot.path, (entry, content)))
            self._open(visit)
            visit.deferred = True
            return
        large = entry.size > _LATER or len(content) > _LATER_BLOBS * ID
        if (large or self._batch.is_full) and len(visit.later) < _GIVEN_BACK:
            self._open(visit)
            visit.later.append((entry, content))
            return
        if self._batch.is_full:
            self._batch.run()
        self._write(self._open(visit), visit.there.get(entry.name), path, entry, content)

    def _files(self, task: Files) -> None:
        try:
            folder = self._target.folder(task.path)
        except ITEM_ERRORS as error:
            for entry, _ in task.items:
                self._fail(joined(task.path, entry.name), error)
            return
        try:
            there = folder.found()
            for entry, content in task.items:
                path = joined(task.path, entry.name)
                try:
                    self._write(folder, there.get(entry.name), path, entry, content)
                except ITEM_ERRORS as error:
                    self._fail(path, error)
            self._batch.run()
        finally:
            folder.close()

    def _write(self, folder: TargetFolder, there: Found | None, path: bytes, entry: Entry, content: bytes) -> None:
        if there is None:
            self._batch.add(folder, path, entry, content)
            return
        if not self._may_write(folder, there, entry):
            return
        if there.kind != "file":
            self._batch.add(folder, path, entry, content)
            return
        trusted = self._options.overwrite == "if-different" and not self._options.verify
        equal = trusted and looks_equal(there, entry)
        with _Old(folder, entry.name, wanted=not equal) as old:
            equal = equal or (old is not None and old.size == entry.size and self._compare(old, content))
            if equal and folder.update(entry):
                self._out.unchanged += 1
                self._out.unchanged_bytes += entry.size
                return
            self._batch.add(folder, path, entry, content, old)

    def _may_write(self, folder: TargetFolder, there: Found | None, entry: Entry) -> bool:
        removed = may_write(folder, there, entry, self._options)
        self._out.skipped += removed < 0
        self._out.deleted += max(removed, 0)
        return removed >= 0

    def _compare(self, old: OldFile, content: bytes, offset: int = 0) -> bool:
        """Tell whether the old file holds just these blobs from ``offset`` on."""
        for blob_id, start, length in self._batch.laid_out(content, offset):
            data = old.read(start, length)
            if len(data) != length or sha256(data).digest() != blob_id:
                return False
        return True

    def _links(self, task: Links) -> None:
        try:
            folder = self._target.folder(task.path)
        except ITEM_ERRORS as error:
            for entry, _ in task.names:
                self._fail(joined(task.path, entry.name), error)
            return
        try:
            there = folder.found() if self._options.overwrite in ("never", "if-newer") else {}
            for entry, first in task.names:
                try:
                    if self._may_write(folder, there.get(entry.name), entry):
                        folder.link(entry.name, first)
                        self._out.links += 1
                except ITEM_ERRORS as error:
                    self._fail(joined(task.path, entry.name), error)
        finally:
            folder.close()

    # ------------------------------------------------------------------ parts of large files

    def _piece(self, task: Piece) -> None:
        path = joined(task.path, task.entry.name)
        try:
            folder = self._target.folder(task.path)
            try:
                with _Old(folder, task.entry.name, wanted=task.old or not task.token) as old:
                    if task.token:
                        self._batch.add_part(folder, path, task.entry, task.content, task.offset, task.token, old)
                        self._batch.run()
                    else:
                        self._out.equal = old is not None and self._compare(old, task.content, task.offset)
            finally:
                folder.close()
        except ITEM_ERRORS as error:
            if task.token:
                self._fail(path, error)


class _Old:
    """The old content of a file for the length of a ``with`` block; None where it cannot be read."""

    def __init__(self, folder: TargetFolder, name: bytes, *, wanted: bool = True) -> None:
        self._file: OldFile | None = None
        if wanted:
            try:
                self._file = folder.old_file(name)
            except (OSError, TargetProblem):
                return

    def __enter__(self) -> OldFile | None:
        return self._file

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

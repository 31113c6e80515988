"""Short ways to back up and to look at what was stored."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from backups.engine.archiver import BackupOptions, BackupResult, SnapshotInfo, backup
from backups.engine.blob import BlobType
from backups.engine.check_subset import Subset
from backups.engine.checker import Check, CheckOptions
from backups.engine.findings import Finding
from backups.engine.ports import CancelToken, Entry, Progress, Source, SourceFile, SourceFolder
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot
from backups.engine.tree import Node, decode_tree

TIME = "2024-05-06T07:08:09Z"
SMALL = 256 * 1024
"""A pack size for tests: several packs from a few files."""


def run_backup(
    repository: Repository,
    source: Source,
    *,
    time: str = TIME,
    parent: str | Snapshot | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    guard: Callable[[], None] = lambda: None,
    **options: Any,
) -> BackupResult:
    """Back up with small packs, in UTC and in this process unless the options say otherwise.

    ``parent`` is a snapshot, or the id of one.
    """
    if isinstance(parent, str):
        parent = next(snapshot for snapshot in repository.snapshots() if snapshot.id == parent)
    info = SnapshotInfo(time=time, paths=["/data"], hostname="host", username="somebody")
    chosen = BackupOptions(**({"workers": 0, "pack_size": SMALL, "zone": "UTC"} | options))
    limit = sys.getrecursionlimit()
    try:
        return backup(
            repository, source, info, parent=parent, options=chosen, progress=progress, cancel=cancel, guard=guard
        )
    finally:
        sys.setrecursionlimit(limit)  # a backup raises it, and Hypothesis watches it


def walk(repository: Repository, tree_id: str, path: bytes = b"") -> Iterator[tuple[bytes, Node]]:
    """Yield (path, node) of everything below a tree."""
    for node in decode_tree(repository.load_tree(tree_id)):
        here = path + b"/" + node.raw_name if path else node.raw_name
        yield here, node
        if node.subtree:
            yield from walk(repository, node.subtree, here)


def nodes(repository: Repository, tree_id: str) -> dict[bytes, Node]:
    """Everything below a tree by path."""
    return dict(walk(repository, tree_id))


def content(repository: Repository, node: Node) -> bytes:
    """A file's content, read back and checked against the recorded size."""
    whole = b"".join(repository.load_blob(BlobType.DATA, bytes.fromhex(name)) for name in node.content or [])
    assert len(whole) == node.size
    return whole


def contents_below(repository: Repository, tree_id: str) -> dict[bytes, bytes]:
    """Every file below a tree with its content."""
    return {path: content(repository, node) for path, node in walk(repository, tree_id) if node.type == "file"}


Meddle = Callable[[bytes], None]


def _nothing(_: bytes) -> None:
    """Leave it alone."""


class MeddledSource:
    """Another source, with calls at chosen moments that can change what is being read.

    Each call gets a path below the root: ``listed`` after a folder was listed, ``opening`` and ``entering`` just before
    an item is, ``reading`` before each block.
    """

    def __init__(
        self,
        inner: Source,
        *,
        listed: Meddle = _nothing,
        opening: Meddle = _nothing,
        entering: Meddle = _nothing,
        reading: Meddle = _nothing,
    ) -> None:
        self.inner, self.listed, self.opening, self.entering, self.reading = inner, listed, opening, entering, reading

    def root(self, problem: Callable[[bytes, Exception], None]) -> SourceFolder:
        return _Folder(self, self.inner.root(problem), b"")


class _Folder:
    def __init__(self, source: MeddledSource, inner: SourceFolder, path: bytes) -> None:
        self._source, self._inner, self._path = source, inner, path
        self.entry = inner.entry

    def _below(self, entry: Entry) -> bytes:
        return self._path + b"/" + entry.name if self._path else entry.name

    def entries(self) -> list[Entry]:
        found = self._inner.entries()
        self._source.listed(self._path)
        return found

    def slurp(self, entry: Entry, limit: int) -> tuple[Entry, bytes] | None:
        if self._source.reading is not _nothing:
            return None
        self._source.opening(self._below(entry))
        return self._inner.slurp(entry, limit)

    def open(self, entry: Entry) -> SourceFile:
        path = self._below(entry)
        self._source.opening(path)
        return _File(self._source, self._inner.open(entry), path)

    def enter(self, entry: Entry) -> SourceFolder:
        path = self._below(entry)
        self._source.entering(path)
        return _Folder(self._source, self._inner.enter(entry), path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _File:
    def __init__(self, source: MeddledSource, inner: SourceFile, path: bytes) -> None:
        self._source, self._inner, self._path = source, inner, path
        self.entry = inner.entry

    def read(self, size: int) -> bytes:
        self._source.reading(self._path)
        return self._inner.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def in_child(work: Callable[[], Any], *, uid: int | None = None) -> Any:
    """Do ``work`` in a forked child, as another user if asked, and return its result."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if uid is not None:
                # Imported late by the engine, and the other user may not be able to read where Python lives.
                for name in ("concurrent.futures.thread", "multiprocessing.connection", "zoneinfo"):
                    importlib.import_module(name)
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            answer = pickle.dumps(work())
            with open(theirs, "wb") as file:
                file.write(answer)
            code = 0
        except BaseException:  # noqa: BLE001 - a child must not unwind into the test runner
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(theirs)
    with open(ours, "rb") as file:
        answer = file.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {status}; its traceback is on stderr"
    return pickle.loads(answer)


def findings(repository: Repository, *, workers: int = 0) -> list[Finding]:
    """What a check of every byte finds, hints left out."""
    check = Check(repository, CheckOptions(read=Subset(), workers=workers))
    return [finding for finding in check.findings() if finding.severity == "error"]


def children() -> set[str]:
    """The children of this process, zombies included; servers of other tests may be among them."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        found.update((task / "children").read_text(encoding="ascii").split())
    return found

"""A helper process's side of a backup: what it is given, what it does, and what it tells the coordinator."""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backups.engine.names import quote_name
from backups.engine.pack import PackBuilder
from backups.engine.packer import Carrier, PackWriter, store_bytes
from backups.engine.pool import Report
from backups.engine.ports import Entry, SourceFolder
from backups.engine.repository import Repository
from backups.engine.saver import Counts, OldTree, Saver

_SPOOL, _SPOOL_SECONDS = "holdfast-packs-", 3600
LAST_TASK = -1
"""The task after all units: give away what is in no full pack."""


@dataclass(slots=True)
class OpenFolder:
    """A folder the coordinator opened itself, with a place for the node of each of its items."""

    folder: SourceFolder
    path: bytes
    old: OldTree
    old_id: str | None
    entries: list[Entry]
    nodes: list[bytes | None]
    above: OpenFolder | None
    slot: int


@dataclass(slots=True)
class Unit:
    """A piece of work: some items of an open folder.  ``weight`` in bytes, folders counting as much as the largest."""

    where: OpenFolder
    slots: list[int]
    weight: int


class Outbox:
    """A helper's messages to the coordinator; progress only a few times a second."""

    def __init__(self) -> None:
        self.report: Report = lambda _: None
        self._files = self._bytes = self._quiet = 0
        self._item = b""
        self._sent = 0.0

    def advance(self, files: int, size: int, item: bytes) -> None:
        self._files += files
        self._bytes += size
        self._item = item or self._item
        self._quiet += 1
        if self._quiet & 31 == 0 and time.monotonic() - self._sent > 0.25:
            self.flush()

    def flush(self) -> None:
        self._sent = time.monotonic()
        self.report(("progress", self._files, self._bytes, self._item))
        self._files = self._bytes = 0

    def problem(self, path: bytes, error: Exception) -> None:
        self.report(("problem", *describe(path, error)))

    def stored(self, pack_id: str, header: bytes, size: int) -> None:
        self.report(("stored", pack_id, header, size))


@dataclass(slots=True)
class Helper:
    """What a helper process does with its tasks: a unit by its number, or the last one, to give away what is left."""

    units: list[Unit]
    outbox: Outbox
    carrier: Carrier
    packer: PackWriter
    saver: Saver
    deliver: Callable[[PackBuilder], None]
    worth_storing: int

    def __call__(self, task: int, report: Report) -> Any:
        self.outbox.report = report
        self.carrier.collect()
        if task == LAST_TASK:
            return self._give_away()
        self.saver.counts = Counts()
        nodes = do_unit(self.saver, self.units[task])
        self.outbox.flush()
        return nodes, self.saver.counts

    def _give_away(self) -> list[PackBuilder]:
        """Store what fills half a pack, and return what the coordinator should join with others."""
        self.saver.close()
        left = self.packer.unfinished()
        for builder in left:
            if builder.size > self.worth_storing:
                self.deliver(builder)
        self.carrier.drain()
        self.outbox.flush()
        return [builder for builder in left if builder.size <= self.worth_storing]

    def close(self) -> None:
        """Finish the put that is under way, so that no temporary file stays behind."""
        self.saver.close()
        self.carrier.close()


def send_spooled(outbox: Outbox, spool: Spool, repository: Repository, builder: PackBuilder) -> None:
    outbox.report(spool.send(repository, builder))


class Spool:
    """Packs on their way from helpers to the coordinator, which alone holds the connections.

    At most ``places`` of them exist at once; a helper waits for a place.
    """

    def __init__(self, workspace: Path | None, places: int) -> None:
        import tempfile
        from multiprocessing import get_context

        _sweep_spools(Path(workspace or tempfile.gettempdir()))
        self._folder = Path(tempfile.mkdtemp(prefix=_SPOOL, dir=workspace))
        self._held = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        self._places = get_context("fork").BoundedSemaphore(places)

    def send(self, repository: Repository, builder: PackBuilder) -> tuple[str, str, str, bytes]:
        """Seal a pack into a file (in a helper) and return what to tell the coordinator."""
        pack = builder.finish(repository.key)
        self._places.acquire()
        path = self._folder / pack.id
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.writelines(pack.parts)
        return "spooled", str(path), pack.id, pack.header

    def upload(self, repository: Repository, path: str, pack_id: str, header: bytes) -> tuple[str, bytes, int]:
        """Store a pack from its file (in a thread of the coordinator)."""
        try:
            with open(path, "rb") as file:
                # Unmapped when the last view of it goes: an error on its way up may hold one for a while.
                view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            Path(path).unlink()
            store_bytes(repository, pack_id, view)
            return pack_id, header, len(view)
        finally:
            self._places.release()

    def close(self) -> None:
        import shutil

        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._held)


def _sweep_spools(workspace: Path) -> None:
    """Remove what runs that were killed have left: folders of ours that nobody holds any more."""
    import shutil

    for folder in workspace.glob(f"{_SPOOL}*"):
        with suppress(OSError):
            state = folder.lstat()
            if state.st_uid != os.geteuid() or time.time() - state.st_mtime < _SPOOL_SECONDS:
                continue
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(held)


def do_unit(saver: Saver, unit: Unit) -> list[bytes | None]:
    where = unit.where
    nodes = []
    for slot in unit.slots:
        entry = where.entries[slot]
        old = where.old.nodes.get(quote_name(entry.name))
        nodes.append(saver.node(where.folder, entry, where.path + b"/" + entry.name, old))
    return nodes


def drop(_: PackBuilder) -> None:
    """A dry run stores nothing."""


def describe(path: bytes, error: Exception) -> tuple[str, str]:
    """Return a path and an error as text for people; names that are not UTF-8 keep their bytes as surrogates."""
    if isinstance(error, FileNotFoundError):
        message = "is not there, or vanished while the folder was read"
    elif isinstance(error, OSError):
        message = error.strerror or str(error)
    else:
        message = str(error)
    return os.fsdecode(path), message

"""Writing items of snapshots to an archive that somebody downloads: in a child of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from backups.engine.dumper import dump_folder
from backups.engine.ports import Archive as Port
from backups.engine.ports import CancelToken, Entry
from backups.engine.repository import Repository
from backups.engine.restore_batch import TargetFull
from backups.engine.restore_plan import Plan
from backups.engine.restore_rules import RestoreOptions
from backups.session.events import SaidProgress, say
from backups.session.items import COMPLETE, INCOMPLETE, snapshot_of
from backups.session.putting import selector
from backups.session.spec import Archive
from backups.spelling import unspell
from restores.targets.archive import open_archive
from restores.targets.confine import confine_writes

_LOOK_EVERY = 64 << 20


class Totalled:
    """Progress towards sums that are known."""

    def __init__(self, progress: SaidProgress, total: int) -> None:
        self._progress = progress
        self._total = total
        self.before = (0, 0)
        self.now = (0, 0)

    def update(
        self, *, files: int = 0, bytes: int = 0, total_files: int = 0, total_bytes: int = 0, item: str = ""
    ) -> None:
        """Say how far all parts together are."""
        self.now = (self.before[0] + files, self.before[1] + bytes)
        self._progress.update(files=self.now[0], bytes=self.now[1], total_bytes=self._total, item="")

    def problem(self, path: str, message: str) -> None:
        """Say what was left out."""
        self._progress.problem(path, message)


class Placed:
    """An archive whose items stand below ``prefix``, and those of the folder ``strip`` without its path."""

    def __init__(self, archive: Port, strip: bytes, prefix: bytes) -> None:
        self._archive = archive
        self._strip = strip
        self._prefix = prefix
        self.holds_links = archive.holds_links

    def add(
        self, path: bytes, entry: Entry, *, size: int = 0, data: Iterable[bytes] = (), same_as: bytes = b""
    ) -> None:
        """Append an item; the folder that is stripped is none."""
        place = self._place(path)
        if place:
            self._archive.add(place, entry, size=size, data=data, same_as=self._place(same_as) if same_as else b"")

    def close(self) -> None:
        """Other parts may follow."""

    def _place(self, path: bytes) -> bytes:
        if self._strip and path == self._strip:
            path = b""
        elif self._strip and path.startswith(self._strip + b"/"):
            path = path[len(self._strip) + 1 :]
        return b"/".join(part for part in (self._prefix, path) if part) if path else b""


class Counted:
    """A file that counts what is written, and stops before the disk is full."""

    def __init__(self, fd: int, keep_free: int) -> None:
        self._fd = fd
        self._keep_free = keep_free
        self._look_at = 0
        self.written = 0

    def write(self, data: bytes) -> None:
        """Write all of it.  TargetFull, OSError."""
        if self.written >= self._look_at:
            self._look_at = self.written + _LOOK_EVERY
            if free_of(self._fd) < self._keep_free:
                raise TargetFull("the disk with the downloads is nearly full")
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self.written += len(data)


def run_archive(repository: Repository, command: Archive, cancel: CancelToken) -> int:
    """Write an archive; the summary is said, the exit status returned."""
    began = time.monotonic()
    fd = os.open(command.file, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
    confine_writes([os.path.dirname(command.file)])  # noqa: PTH120 - a text from the specification
    out = Counted(fd, command.keep_free)
    total = _needed(repository, command, cancel)
    if total > free_of(fd) - command.keep_free:
        raise TargetFull(f"the download needs up to {total} bytes, and {free_of(fd)} are free on its disk")
    archive = open_archive(command.form, out)  # type: ignore[arg-type]
    progress = Totalled(SaidProgress(command.item, time.monotonic), total)
    items = problems = 0
    for part in command.parts:
        placed = Placed(archive, unspell(command.strip).strip(b"/"), unspell(part.prefix))
        tree = snapshot_of(repository, part.snapshot).tree
        select = selector([unspell(path).strip(b"/") for path in part.paths])
        result = dump_folder(repository, tree, b"", placed, select=select, progress=progress, cancel=cancel)
        items, problems = items + result.items, problems + len(result.problems)
        progress.before = (progress.before[0] + result.items, progress.before[1] + result.written)
    archive.close()
    os.fsync(fd)
    os.close(fd)
    seconds = time.monotonic() - began
    say(
        "archived", command.item, items=items, problems=problems, size=out.written, data=progress.before[1],
        seconds=seconds,
    )  # fmt: skip
    return INCOMPLETE if problems else COMPLETE


def free_of(fd: int) -> int:
    """Return the bytes that may still be written to a file's disk."""
    room = os.fstatvfs(fd)
    return room.f_bavail * room.f_frsize


def _needed(repository: Repository, command: Archive, cancel: CancelToken) -> int:
    total = 0
    for part in command.parts:
        options = RestoreOptions(select=selector([unspell(path).strip(b"/") for path in part.paths]))
        tree = snapshot_of(repository, part.snapshot).tree
        plan = Plan(repository, tree, None, b"", options, cancel, most=command.most)
        total += sum(planned.size for planned in plan)
    return total

"""The third step of a check: a pack is read once, from its first byte to its last, and everything in it compared."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple, Protocol

from backups.engine.blob import MAX_BLOB, BlobType, open_blob
from backups.engine.errors import Corrupt
from backups.engine.findings import Finding
from backups.engine.pack import Entry
from backups.engine.pool import Report
from backups.engine.repository import Repository
from destinations.storage.errors import ObjectMissing, ShortRead

_STEP = 4 * 1024 * 1024
_KEPT = 100


class Digest(Protocol):
    """A running hash."""

    def update(self, data: bytes | memoryview, /) -> None: ...


class PackTask(NamedTuple):
    """A pack to read: its number, its size, and how many blobs the index knows in it."""

    pack: int
    size: int
    blobs: int


class PackOutcome(NamedTuple):
    """Bytes and blobs that were read, and what was found."""

    size: int
    blobs: int
    findings: list[Finding]


class PackReader:
    """Reads packs of one repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def handle(self, task: PackTask, _: Report) -> PackOutcome:
        """Read a pack; what is wrong is read again before it counts."""
        outcome = self._check(task)
        if not outcome.findings:
            return outcome
        again = self._check(task)
        if again.findings:
            return again
        name = self._repository.index.packs[task.pack].hex()
        text = f"pack {name} read differently the first time: {outcome.findings[0].message}"
        return PackOutcome(again.size, again.blobs, [Finding("pack-unstable", "pack", name, text)])

    def _check(self, task: PackTask) -> PackOutcome:
        name = self._repository.index.packs[task.pack].hex()
        findings: list[Finding] = []
        try:
            entries = self._entries(task, name, findings)
            size = self._read(task, name, entries, findings)
        except ObjectMissing:
            return PackOutcome(0, 0, [Finding("pack-missing", "pack", name, f"pack {name} is not there")])
        except ShortRead as error:
            return PackOutcome(0, 0, [Finding("pack-size", "pack", name, f"pack {name} ends early: {error}")])
        return PackOutcome(size, len(entries), findings)

    def _entries(self, task: PackTask, name: str, findings: list[Finding]) -> list[Entry]:
        """Return the blobs of a pack by its own header, or by the index if that cannot be read."""
        try:
            entries = self._repository.read_header(name, task.size)
        except Corrupt as error:
            findings.append(Finding("pack-header", "pack", name, f"the header of {error}"))
            return self._indexed(task.pack)
        holds = self._repository.index.table.holds
        pack = task.pack
        unknown = 0
        for kind, blob_id, offset, length, plain_size in entries:
            if not holds(kind, blob_id, (pack, offset, length, plain_size)):
                unknown += 1
        if unknown or len(entries) != task.blobs:
            text = f"the header of pack {name} and the index do not agree: {unknown} blobs differ, "
            text += f"{len(entries)} are in the header and {task.blobs} in the index"
            findings.append(Finding("pack-header", "pack", name, text))
        return entries

    def _indexed(self, pack: int) -> list[Entry]:
        found = [
            Entry(kind, i, p.offset, p.length, p.plain_size)
            for kind, i, p in self._repository.index.items()
            if p.pack == pack
        ]
        return sorted(found, key=lambda entry: entry.offset)

    def _read(self, task: PackTask, name: str, entries: list[Entry], findings: list[Finding]) -> int:
        """Read the whole file once; open every blob on the way."""
        digest = sha256()
        position = 0
        key = self._repository.key
        for group in _groups(entries):
            start, end = group[0].offset, group[-1].offset + group[-1].length
            self._hash(name, position, start, digest)
            data = memoryview(self._repository.read_pack(name, start, end - start))
            digest.update(data[max(0, position - start) :])
            position = max(position, end)
            for entry in group:
                _, blob_id, offset, length, plain_size = entry
                try:
                    open_blob(key, data[offset - start : offset - start + length], plain_size, blob_id)
                except Corrupt as error:
                    _note(name, entry, error, findings)
        self._hash(name, position, task.size, digest)
        if digest.hexdigest() != name:
            findings.append(Finding("pack-content", "pack", name, f"pack {name} has other content than its name says"))
        return task.size

    def _hash(self, name: str, start: int, end: int, digest: Digest) -> None:
        for at in range(start, end, _STEP):
            digest.update(self._repository.read_pack(name, at, min(_STEP, end - at)))


def _note(name: str, entry: Entry, error: Corrupt, findings: list[Finding]) -> None:
    if len(findings) < _KEPT:
        kind = "tree" if entry.kind == BlobType.TREE else "data"
        text = f"pack {name}, {kind} at byte {entry.offset}: {error}"
        findings.append(Finding("blob-damaged", "blob", entry.id.hex(), text))


def _groups(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Group blobs that lie side by side and are read together; one too large for any blob is left to the hash."""
    group: list[Entry] = []
    for entry in entries:
        if group:
            end = group[-1].offset + group[-1].length
            if entry.offset != end or entry.offset + entry.length - group[0].offset > _STEP:
                yield group
                group = []
        if entry.length <= MAX_BLOB:
            group.append(entry)
    if group:
        yield group

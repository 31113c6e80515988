"""A small whole repository, one flipped bit somewhere in it, and what a person does about it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from backups.engine.check_subset import Subset
from backups.engine.checker import Check, CheckOptions
from backups.engine.crypto import OVERHEAD
from backups.engine.errors import Corrupt, EngineError
from backups.engine.findings import Finding
from backups.engine.forget import remove_snapshots
from backups.engine.layout import CONFIG, DATA, KEYS
from backups.engine.pack import TRAILER
from backups.engine.repair_index import repair_index
from backups.engine.repair_packs import repair_packs
from backups.engine.repair_snapshots import repair_snapshots
from backups.engine.repository import Repository
from backups.sources import FolderSource
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import PASSWORD, assert_whole, new_repository, noise, reopened
from tests.engine.running import contents_below, run_backup

_ID = re.compile(r"[0-9a-f]{64}")
_EDGE = OVERHEAD // 2
SOURCE = {
    b"source/a": b"text " * 60,
    b"source/d/b": noise(1, 700),
    b"source/d/e/c": noise(2, 300),
    b"source/empty": b"",
}


class Place(NamedTuple):
    """A byte of an object, and what it belongs to there."""

    key: str
    at: int
    part: str


@dataclass(frozen=True)
class Flipped:
    """Everything a test needs: the objects as they should be, and the snapshots' content."""

    objects: dict[str, bytes]
    source: dict[bytes, bytes]

    def places(self) -> Iterator[Place]:
        """Every byte of every object."""
        repository = opened(self.objects)
        for key, data in sorted(self.objects.items()):
            kind, name = key.split("/")[0], key.split("/")[-1]
            if kind == DATA:
                yield from _places_of_pack(repository, key, name, len(data))
            elif kind == KEYS:
                yield from (Place(key, at, "key") for at in range(len(data)))
            else:
                yield from _places_of_envelope(key, kind, 0, len(data))

    def with_flip(self, place: Place, bit: int) -> dict[str, bytes]:
        """The objects, one of them with a bit turned over."""
        damaged = bytearray(self.objects[place.key])
        damaged[place.at] ^= 1 << bit
        return {**self.objects, place.key: bytes(damaged)}

    def healed(self, objects: dict[str, bytes], findings: list[Finding]) -> Repository:
        """Heal; every snapshot then holds what it did."""
        heal(objects, findings)
        repository = opened(objects)
        for snapshot in repository.snapshots():
            assert contents_below(repository, snapshot.tree) == self.source
        assert_whole(repository)
        return repository


def heal(objects: dict[str, bytes], findings: list[Finding], **options: str) -> str:
    """Do what a check says is next: repair the index and the packs, back ``source`` up, repair the snapshots.

    Returns the id of the new snapshot.
    """
    repository = Repository.open(MemoryStore(objects), PASSWORD)
    named = {name for finding in findings for name in _ID.findall(finding.message)}
    repair_index(repository)
    repository = reopened(repository)
    if packs := sorted(named & repository.ids(DATA).keys()):
        repair_packs(repository, packs)
        repository = reopened(repository)
    made = run_backup(repository, FolderSource([b"source"]), **options)
    assert made.complete
    damaged: list[Corrupt] = []
    repair_snapshots(repository, repository.snapshots(damaged.append), forget=True)
    remove_snapshots(repository, [error.object_id for error in damaged])
    return made.snapshot_id


def make(folder: Path) -> Flipped:
    """Back up a few files, which stand below the folder and are to be backed up from there, twice."""
    for path, data in SOURCE.items():
        (folder / path.decode()).parent.mkdir(parents=True, exist_ok=True)
        (folder / path.decode()).write_bytes(data)
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))
    run_backup(repository, FolderSource([b"source"]))
    run_backup(reopened(repository), FolderSource([b"source"]), time="2024-06-01T00:00:00Z")
    return Flipped(dict(objects), SOURCE)


def opened(objects: dict[str, bytes]) -> Repository:
    """The repository of these objects, index loaded."""
    repository = Repository.open(MemoryStore(objects), PASSWORD)
    repository.load_index()
    return repository


def found(objects: dict[str, bytes]) -> list[Finding] | EngineError:
    """What ``check --read-data`` says: its errors, or why it cannot even begin."""
    try:
        repository = Repository.open(MemoryStore(objects), PASSWORD)
    except EngineError as error:
        return error
    check = Check(repository, CheckOptions(read=Subset(), workers=0))
    return [finding for finding in check.findings() if finding.severity == "error"]


def is_for_the_owner(place: Place) -> bool:
    """Whether it cannot be healed from the source: without config or its only key nothing opens."""
    return place.key == CONFIG or place.key.startswith(KEYS)


def flips(places: list[Place], each: int, seed: int) -> list[tuple[Place, int]]:
    """Of each part of each kind of object so many places, with the bit to turn over."""
    rng = random.Random(seed)
    parts: dict[tuple[str, str], list[Place]] = {}
    for place in places:
        parts.setdefault((place.key.split("/")[0], place.part), []).append(place)
    chosen = [place for group in parts.values() for place in rng.sample(group, min(each, len(group)))]
    return [(place, rng.randrange(8)) for place in chosen]


def _places_of_pack(repository: Repository, key: str, name: str, size: int) -> Iterator[Place]:
    end = 0
    for entry in repository.read_header(name, size):
        yield from _places_of_envelope(key, entry.kind.name, entry.offset, entry.length)
        end = entry.offset + entry.length
    yield from _places_of_envelope(key, "header", end, size - TRAILER - end)
    yield from (Place(key, at, "header length") for at in range(size - TRAILER, size))


def _places_of_envelope(key: str, what: str, start: int, length: int) -> Iterator[Place]:
    for at in range(length):
        part = "nonce" if at < _EDGE else "mac" if at >= length - _EDGE else "text"
        yield Place(key, start + at, f"{what} {part}")

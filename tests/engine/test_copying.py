"""Copies are whole, byte for byte the same trees, made once, and readable by everybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from backups.engine.blob import BlobType
from backups.engine.copying import copy_snapshots
from backups.engine.errors import BadRequest, BlobMissing, Canceled, Corrupt
from backups.engine.layout import DATA, SNAPSHOTS
from backups.engine.ports import CancelToken, Silent
from backups.engine.repository import Repository
from backups.engine.transfer import TransferOptions
from backups.engine.watch import Watch
from destinations.storage.errors import StoreError
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import Writer, assert_whole, contents, local, new_repository, noise, on_disk, reopened
from tests.fakes.faulty_store import Died, DyingStore, LyingStore
from tests.peers import PASSWORD, Restic

TIMES = [f"2024-01-{day:02d}T00:00:00Z" for day in range(1, 30)]


def make(objects: dict[str, bytes], *, version: int = 2) -> Repository:
    repository = new_repository(MemoryStore(objects), version=version)
    writer = Writer(repository, pack_blobs=3)
    for n in range(3):
        writer.snapshot({"a": noise(n), "same": noise(9), "d": {"text": b"text %d " % n * 500}}, time=TIMES[n])
    return repository


@pytest.mark.parametrize("versions", [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_everything_is_copied_with_the_same_tree_ids(versions: tuple[int, int]) -> None:
    source = make({}, version=versions[0])
    target = new_repository(MemoryStore(), version=versions[1])
    result = copy_snapshots(source, target, source.snapshots())
    assert contents(target) == contents(source)
    again = reopened(target)
    assert_whole(again)
    assert [s.tree for s in again.snapshots()] == [s.tree for s in source.snapshots()]
    assert [s.original for s in again.snapshots()] == [s.id for s in source.snapshots()]
    assert result.blobs == len(again.index)
    compressed = {place.plain_size > 0 for kind, _, place in again.index.items() if kind == BlobType.TREE}
    assert compressed == {versions[1] == 2}


def test_what_is_there_is_not_copied_again() -> None:
    source, target = make({}), new_repository(MemoryStore())
    first = copy_snapshots(source, target, source.snapshots()[:2])
    second = copy_snapshots(source, target, source.snapshots())
    assert (len(first.copied), len(second.copied), len(second.skipped)) == (2, 1, 2)
    third = copy_snapshots(source, target, source.snapshots())
    assert (third.copied, third.blobs, third.packs) == ([], 0, 0)
    back = copy_snapshots(target, source, target.snapshots())
    assert (len(back.skipped), back.copied) == (3, [])


def test_a_repository_is_not_copied_into_itself() -> None:
    source = make({})
    with pytest.raises(BadRequest):
        copy_snapshots(source, reopened(source), source.snapshots())


def test_a_damaged_source_copies_no_snapshot() -> None:
    objects: dict[str, bytes] = {}
    source = make(objects)
    for key in [key for key in objects if key.startswith(DATA)][:2]:
        whole = bytearray(objects[key])
        whole[30] ^= 1
        objects[key] = bytes(whole)
    target = new_repository(MemoryStore())
    with pytest.raises((Corrupt, BlobMissing)):
        copy_snapshots(reopened(source), target, source.snapshots())
    assert not target.ids(SNAPSHOTS)


@pytest.mark.parametrize("kind", ["data", "index", "snapshots"])
def test_a_target_that_lies_is_noticed(kind: str) -> None:
    source = make({})
    objects: dict[str, bytes] = {}
    target = new_repository(MemoryStore(objects))
    target.store = LyingStore(MemoryStore(objects), keys=lambda key: key.startswith(kind))
    with pytest.raises((Corrupt, StoreError)):
        copy_snapshots(source, target, source.snapshots())


def test_killed_anywhere_the_target_is_whole_and_the_next_copy_finishes() -> None:
    source = make({})
    expected = contents(source)
    at = 0
    while True:
        at += 1
        objects: dict[str, bytes] = {}
        target = new_repository(MemoryStore(objects))
        target.store = DyingStore(MemoryStore(objects), at)
        try:
            copy_snapshots(source, target, source.snapshots(), options=TransferOptions(pack_size=4000))
        except Died:
            pass
        else:
            break
        again = reopened(Repository.open(MemoryStore(objects), PASSWORD))
        assert contents(again).items() <= expected.items()
        copy_snapshots(source, again, source.snapshots())
        assert contents(reopened(again)) == expected
    assert at > 10


def test_a_cancelled_copy_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backups.engine.watch._SHOW_SECONDS", 0.0)
    source, target = make({}), new_repository(MemoryStore())
    cancel = CancelToken()

    class StopsAfterTwo(Silent):
        def update(self, *, files: int = 0, item: str = "", **_: int) -> None:
            if item == "copying blobs" and files == 2:
                cancel.cancel()

    options = TransferOptions(pack_size=100)
    with pytest.raises(Canceled):
        copy_snapshots(source, target, source.snapshots(), options=options, watch=Watch(StopsAfterTwo(), cancel))
    assert not target.ids(SNAPSHOTS)
    again = reopened(target)
    result = copy_snapshots(source, again, source.snapshots())
    assert 0 < result.blobs < len(source.index)
    assert contents(again) == contents(source)


def test_helpers_copy_the_same(tmp_path: Path) -> None:
    objects: dict[str, bytes] = {}
    make(objects)
    source = reopened(Repository.open(local(on_disk(objects, tmp_path / "source")), PASSWORD))
    target_objects: dict[str, bytes] = {}
    new_repository(MemoryStore(target_objects))
    target = reopened(Repository.open(local(on_disk(target_objects, tmp_path / "target")), PASSWORD))
    copy_snapshots(source, target, source.snapshots(), options=TransferOptions(workers=2))
    assert contents(reopened(target)) == contents(source)
    assert_whole(reopened(target))


def test_stock_reads_our_copies_and_recognises_them(tmp_path: Path, newest_restic: Restic) -> None:
    objects: dict[str, bytes] = {}
    source = make(objects)
    source_path = on_disk(objects, tmp_path / "source")
    target_objects: dict[str, bytes] = {}
    target = new_repository(MemoryStore(target_objects))
    copy_snapshots(source, target, source.snapshots()[:2])
    path = on_disk(target_objects, tmp_path / "target")
    newest_restic.run(path, "check", "--read-data")
    both = {"RESTIC_FROM_PASSWORD": PASSWORD}
    newest_restic.run(path, "copy", "--from-repo", source_path, env=both)
    assert len(newest_restic.json(path, "snapshots")) == 3
    theirs = reopened(Repository.open(local(path), PASSWORD))
    assert contents(theirs) == contents(source)
    assert len(copy_snapshots(source, theirs, source.snapshots()).skipped) == 3

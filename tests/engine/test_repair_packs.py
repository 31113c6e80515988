"""What still opens in a damaged pack is stored again; the rest is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from backups.engine.blob import BlobType
from backups.engine.errors import Corrupt
from backups.engine.layout import DATA, object_key
from backups.engine.repair_packs import repair_packs
from backups.engine.repository import Repository
from destinations.storage.errors import StoreError
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import Writer, assert_whole, contents, new_repository, noise, on_disk, reopened
from tests.fakes.faulty_store import Died, DyingStore, FailingStore, LyingStore
from tests.peers import PASSWORD, Restic


def make(objects: dict[str, bytes]) -> tuple[Repository, str]:
    """A snapshot of five files in one pack; return the pack's id too."""
    repository = new_repository(MemoryStore(objects))
    writer = Writer(repository)
    writer.snapshot({f"f{n}": noise(n) for n in range(5)})
    place = repository.index.find(BlobType.DATA, next(i for k, i, _ in repository.index.items() if k == BlobType.DATA))
    assert place is not None
    return repository, repository.index.packs[place.pack].hex()


def damage(objects: dict[str, bytes], pack: str, *offsets: int, cut: int | None = None) -> bytes:
    key = object_key(DATA, pack)
    whole = bytearray(objects[key])
    for offset in offsets:
        whole[offset] ^= 1
    objects[key] = bytes(whole[:cut])
    return objects[key]


def blobs(repository: Repository) -> set[bytes]:
    return {blob_id for kind, blob_id, _ in repository.index.items() if kind == BlobType.DATA}


def test_the_good_blobs_are_saved_and_the_bad_one_is_named(tmp_path: Path) -> None:
    objects: dict[str, bytes] = {}
    repository, pack = make(objects)
    before = blobs(repository)
    content = damage(objects, pack, 100)
    result = repair_packs(reopened(repository), [pack], copies=tmp_path)
    again = reopened(repository)
    assert result.saved == 4
    assert len(result.lost) == 1
    ((kind, lost),) = result.lost
    assert kind == "data"
    assert blobs(again) == before - {bytes.fromhex(lost)}
    assert object_key(DATA, pack) not in objects
    assert (tmp_path / f"pack-{pack}").read_bytes() == content
    for blob_id in blobs(again):
        again.load_blob(BlobType.DATA, blob_id)


def test_a_truncated_pack_gives_what_is_before_the_cut() -> None:
    objects: dict[str, bytes] = {}
    repository, pack = make(objects)
    damage(objects, pack, cut=3 * 2032 + 5)
    result = repair_packs(reopened(repository), [pack])
    assert (result.saved, len(result.lost)) == (3, 2)


def test_a_pack_that_no_index_knows_is_saved_by_its_header() -> None:
    objects: dict[str, bytes] = {}
    repository, _ = make(objects)
    before = contents(repository)
    for key in [key for key in objects if key.startswith("index/")]:
        del objects[key]
    damaged = reopened(repository)
    assert not blobs(damaged)
    assert repair_packs(damaged, repository.ids(DATA)).lost == []
    assert contents(reopened(repository)) == before


def test_a_pack_that_is_gone_is_dropped_from_the_index() -> None:
    objects: dict[str, bytes] = {}
    repository, pack = make(objects)
    del objects[object_key(DATA, pack)]
    result = repair_packs(reopened(repository), [pack])
    assert result.missing_packs == [pack]
    assert len(result.lost) == 5
    assert bytes.fromhex(pack) not in reopened(repository).index.packs


def test_a_healthy_pack_loses_nothing() -> None:
    objects: dict[str, bytes] = {}
    repository, _ = make(objects)
    before = contents(repository)
    packs = list(repository.ids(DATA))
    assert repair_packs(repository, packs).lost == []
    assert contents(repository) == before
    assert not repository.ids(DATA).keys() & set(packs)
    assert_whole(reopened(repository))


def test_a_storage_that_lies_keeps_the_old_packs() -> None:
    objects: dict[str, bytes] = {}
    repository, pack = make(objects)
    for kind in ("data", "index"):
        lying = LyingStore(MemoryStore(objects), keys=lambda key, kind=kind: key.startswith(kind))
        with pytest.raises((StoreError, Corrupt)):
            repair_packs(reopened(repository, lying), [pack])
        assert object_key(DATA, pack) in objects
    failing = FailingStore(MemoryStore(objects), verbs={"delete"}, from_request=1)
    with pytest.raises(StoreError):
        repair_packs(reopened(repository, failing), [pack])
    assert contents(reopened(repository))


def test_killed_anywhere_no_more_is_lost() -> None:
    origin: dict[str, bytes] = {}
    repository, pack = make(origin)
    damage(origin, pack, 100)
    everything = blobs(repository)
    at = 0
    while True:
        at += 1
        objects = origin.copy()
        store = DyingStore(MemoryStore(objects), at, verbs={"get", "put", "delete", "stat"})
        try:
            repository = Repository.open(store, PASSWORD)
            repository.load_index()
            repair_packs(repository, [pack])
        except Died:
            pass
        else:
            break
        again = reopened(Repository.open(MemoryStore(objects), PASSWORD))
        readable = 0
        for blob_id in everything:
            try:
                again.load_blob(BlobType.DATA, blob_id)
                readable += 1
            except Corrupt:
                pass
        assert readable == 4
        if object_key(DATA, pack) in objects:
            repair_packs(again, [pack])
            assert len(blobs(reopened(again))) == 4
    assert at > 8


def test_stock_finds_nothing_but_the_lost_blob(tmp_path: Path, newest_restic: Restic) -> None:
    objects: dict[str, bytes] = {}
    repository, pack = make(objects)
    damage(objects, pack, 100)
    damaged = on_disk(objects, tmp_path / "damaged")
    assert newest_restic.run(damaged, "check", "--read-data", check=False).returncode == 1
    result = repair_packs(reopened(repository), [pack])
    path = on_disk(objects, tmp_path / "repaired")
    said = newest_restic.run(path, "check", "--read-data", check=False)
    assert said.returncode == 1
    assert result.lost[0][1][:8] in said.stdout + said.stderr
    newest_restic.run(path, "repair", "snapshots", "--forget")
    newest_restic.run(path, "check", "--read-data")

"""The index is brought in line with the packs, whatever happened to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backups.engine.blob import BlobType
from backups.engine.index_file import encode_index
from backups.engine.layout import DATA, INDEX
from backups.engine.pack import Entry
from backups.engine.repair_index import repair_index
from backups.engine.repository import Repository
from destinations.storage.errors import StoreError
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import Writer, assert_whole, contents, local, new_repository, noise, on_disk, reopened
from tests.fakes.faulty_store import CountingStore, Died, DyingStore, FailingStore, LyingStore
from tests.peers import PASSWORD, Restic

TIMES = [f"2024-01-{day:02d}T00:00:00Z" for day in range(1, 30)]


def make(objects: dict[str, bytes]) -> Repository:
    repository = new_repository(MemoryStore(objects))
    writer = Writer(repository, pack_blobs=3)
    for n in range(3):
        writer.snapshot({"a": noise(n), "same": noise(9), "d": {"text": b"text %d " % n * 500}}, time=TIMES[n])
    return repository


def opened(objects: dict[str, bytes]) -> Repository:
    return Repository.open(MemoryStore(objects), PASSWORD)


def places(repository: Repository) -> set[tuple[BlobType, bytes, bytes, int, int, int]]:
    index = repository.index
    return {
        (kind, blob_id, index.packs[place.pack], place.offset, place.length, place.plain_size)
        for kind, blob_id, place in index.items()
    }


def keys(objects: dict[str, bytes], kind: str) -> list[str]:
    return sorted(key for key in objects if key.startswith(f"{kind}/"))


@pytest.mark.parametrize("read_all_packs", [False, True])
@pytest.mark.parametrize("damage", ["all gone", "one gone", "garbage", "truncated"])
def test_a_damaged_index_is_made_anew_from_the_packs(damage: str, read_all_packs: bool) -> None:
    objects: dict[str, bytes] = {}
    expected, before = contents(make(objects)), places(reopened(opened(objects)))
    indexes = keys(objects, INDEX)
    for key in indexes if damage == "all gone" else indexes[:1]:
        if damage.endswith("gone"):
            del objects[key]
        else:
            objects[key] = b"garbage" if damage == "garbage" else objects[key][:-5]
    repository = opened(objects)
    result = repair_index(repository, read_all_packs=read_all_packs)
    assert places(repository) == before
    again = reopened(repository)
    assert places(again) == before
    assert contents(again) == expected
    assert result.damaged_indexes == ([] if damage.endswith("gone") or read_all_packs else [indexes[0][6:]])
    assert bool(result.unreadable_packs) is False
    if not read_all_packs:
        assert len(result.read_packs) < len(keys(objects, DATA)) or damage == "all gone"


def test_a_healthy_index_is_left_alone_without_reading_packs() -> None:
    objects: dict[str, bytes] = {}
    make(objects)
    before = objects.copy()
    store = CountingStore(MemoryStore(objects))
    result = repair_index(Repository.open(store, PASSWORD))
    assert not result.changed
    assert objects == before
    assert not [key for verb, key in store.log if verb == "get" and key.startswith(DATA)]


def test_packs_that_are_gone_are_dropped() -> None:
    objects: dict[str, bytes] = {}
    make(objects)
    gone = keys(objects, DATA)[0]
    del objects[gone]
    repository = opened(objects)
    assert repair_index(repository).missing_packs == [gone.rsplit("/", 1)[-1]]
    sizes = repository.ids(DATA)
    assert {name.hex() for name in repository.index.packs} == sizes.keys()


def test_a_pack_whose_header_does_not_open_is_left_out_and_reported() -> None:
    objects: dict[str, bytes] = {}
    make(objects)
    bad = keys(objects, DATA)[0]
    objects[bad] = objects[bad][:-7]
    repository = opened(objects)
    name = bad.rsplit("/", 1)[-1]
    assert repair_index(repository).unreadable_packs == [name]
    assert bytes.fromhex(name) not in repository.index.packs


def test_wrong_entries_are_replaced_by_what_the_pack_says() -> None:
    objects: dict[str, bytes] = {}
    repository = make(objects)
    before = places(reopened(repository))
    for key in keys(objects, INDEX):
        del objects[key]
    packs = []
    for name, size in repository.ids(DATA).items():
        entries = repository.read_header(name, size)
        packs.append((name, [entries[0]._replace(length=entries[0].length + 1), *entries[1:]]))
    repository.save_object(INDEX, encode_index(packs))
    again = opened(objects)
    assert set(repair_index(again).read_packs) == repository.ids(DATA).keys()
    assert places(reopened(again)) == before


def test_a_pack_split_over_two_index_objects_is_joined() -> None:
    objects: dict[str, bytes] = {}
    repository = make(objects)
    before = places(reopened(repository))
    headers = {name: repository.read_header(name, size) for name, size in repository.ids(DATA).items()}
    for key in keys(objects, INDEX):
        del objects[key]
    repository.save_object(INDEX, encode_index((name, entries[:1]) for name, entries in headers.items()))
    repository.save_object(INDEX, encode_index((name, entries[1:]) for name, entries in headers.items()))
    again = opened(objects)
    repair_index(again)
    assert places(reopened(again)) == before


def test_two_index_objects_that_disagree_are_settled_by_the_pack() -> None:
    objects: dict[str, bytes] = {}
    repository = make(objects)
    before = places(reopened(repository))
    name, size = next((name, size) for name, size in repository.ids(DATA).items() if size > 4000)
    entries = repository.read_header(name, size)
    wrong = [entry._replace(id=bytes(32)) for entry in entries]
    for _ in range(2):
        repository.save_object(INDEX, encode_index([(name, wrong)]))
    again = opened(objects)
    assert repair_index(again).read_packs == [name]
    assert places(reopened(again)) == before


def test_entries_with_a_hole_are_replaced_though_the_sum_fits() -> None:
    objects: dict[str, bytes] = {}
    repository = make(objects)
    before = places(reopened(repository))
    packs: list[tuple[str, list[Entry]]] = []
    for name, size in repository.ids(DATA).items():
        entries = repository.read_header(name, size)
        packs.append((name, [entry._replace(offset=entry.offset + 1) for entry in entries]))
    for key in keys(objects, INDEX):
        del objects[key]
    repository.save_object(INDEX, encode_index(packs))
    again = opened(objects)
    repair_index(again)
    assert places(reopened(again)) == before


def test_a_broken_connection_leaves_the_old_index() -> None:
    objects: dict[str, bytes] = {}
    make(objects)
    del objects[keys(objects, INDEX)[0]]
    before = objects.copy()
    failing = FailingStore(MemoryStore(objects), from_request=6, verbs={"get"})
    with pytest.raises(StoreError):
        repair_index(Repository.open(failing, PASSWORD), read_all_packs=True)
    assert before.items() <= objects.items()
    lying = LyingStore(MemoryStore(objects), keys=lambda key: key.startswith(INDEX))
    with pytest.raises(StoreError):
        repair_index(Repository.open(lying, PASSWORD))
    assert before.items() <= objects.items()


@pytest.mark.parametrize("read_all_packs", [False, True])
def test_killed_anywhere_the_next_repair_finishes(read_all_packs: bool) -> None:
    origin: dict[str, bytes] = {}
    expected = contents(make(origin))
    before = places(reopened(opened(origin)))
    origin[keys(origin, INDEX)[0]] = b"garbage"
    at = 0
    while True:
        at += 1
        objects = origin.copy()
        store = DyingStore(MemoryStore(objects), at)
        try:
            repair_index(Repository.open(store, PASSWORD), read_all_packs=read_all_packs)
        except Died:
            pass
        else:
            break
        again = opened(objects)
        repair_index(again)
        assert places(reopened(again)) == before
        assert contents(reopened(again)) == expected
    assert at > 8


@pytest.mark.parametrize("version", [1, 2])
def test_stock_is_content_with_the_repaired_index(tmp_path: Path, restic: Restic, version: int) -> None:
    objects: dict[str, bytes] = {}
    new_repository(MemoryStore(objects), version=version)
    path = on_disk(objects, tmp_path / "repository")
    (tmp_path / "source").mkdir()
    for n in range(5):
        (tmp_path / "source" / f"f{n}").write_bytes(noise(n, 50_000))
    restic.run(path, "backup", tmp_path / "source")
    for file in (path / "index").iterdir():
        file.unlink()
    (path / "index" / ("0" * 64)).write_bytes(b"garbage")
    repository = Repository.open(local(path), PASSWORD)
    result = repair_index(repository)
    assert result.damaged_indexes == ["0" * 64]
    restic.run(path, "check", "--read-data")
    assert_whole(reopened(repository))

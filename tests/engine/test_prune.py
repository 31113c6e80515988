"""Prune frees what nothing needs, keeps the rest readable for everybody, and survives being killed anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine.blob import BlobType
from backups.engine.errors import BadRequest, BlobMissing, Canceled, Corrupt, LockLost
from backups.engine.index import Index
from backups.engine.layout import DATA, INDEX, SNAPSHOTS, object_key
from backups.engine.ports import CancelToken, Silent
from backups.engine.prune import prune
from backups.engine.prune_plan import PruneOptions, Unused, parse_size, plan_prune
from backups.engine.reindex import rewrite_index
from backups.engine.repository import Repository
from backups.engine.watch import Watch
from destinations.storage.base import Data, ObjectInfo, ObjectStore
from destinations.storage.errors import ObjectMissing, StoreError
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import Writer, assert_whole, contents, local, new_repository, noise, on_disk, reopened
from tests.fakes.faulty_store import (
    CountingStore,
    Died,
    DyingStore,
    FailingStore,
    LaggyStore,
    LyingStore,
    TruncatingStore,
)
from tests.peers import PASSWORD, Restic

EVERYTHING = PruneOptions(max_unused=Unused(size=0), repack_smaller_than=0, workers=0)
"""No tolerance, and small packs are left alone."""
TIMES = [f"2024-01-{day:02d}T00:00:00Z" for day in range(1, 30)]


def make(store: ObjectStore, *, snapshots: int = 3, version: int = 2) -> tuple[Repository, list[str]]:
    """Snapshots that share a file; each has one of its own and one that the next one has too."""
    repository = new_repository(store, version=version)
    writer = Writer(repository)
    names = [
        writer.snapshot(
            {"common": noise(1), "own": noise(100 + n), "next": noise(200 + n), "d": {"last": noise(199 + n)}},
            time=TIMES[n],
        )
        for n in range(snapshots)
    ]
    return repository, names


def forget(repository: Repository, *names: str) -> None:
    for name in names:
        repository.remove_object(SNAPSHOTS, name)


# ---------------------------------------------------------------------- what goes and what stays


def test_blobs_of_a_forgotten_snapshot_are_gone_and_the_others_read_back() -> None:
    repository, names = make(MemoryStore())
    before = contents(repository)
    forget(repository, names[0])
    report = prune(repository, EVERYTHING)
    again = reopened(repository)
    del before[TIMES[0]]
    assert contents(again) == before
    assert_whole(again)
    assert report.unused.blobs == 3 + 1  # own, the tree, the folder d, and the file only d had
    assert plan_prune(again, EVERYTHING).report.unused.blobs == 0


def test_the_open_repository_goes_on_with_the_new_index() -> None:
    repository, names = make(MemoryStore())
    forget(repository, names[1])
    prune(repository, EVERYTHING)
    again = reopened(repository)
    assert sorted(repository.index.packs) == sorted(again.index.packs)
    assert {(k, i) for k, i, _ in repository.index.items()} == {(k, i) for k, i, _ in again.index.items()}
    assert_whole(repository)


def test_the_cached_table_follows(tmp_path: Path) -> None:
    store = MemoryStore()
    _, names = make(store)
    repository = reopened(Repository.open(store, PASSWORD), cache=tmp_path)
    forget(repository, names[0])
    prune(repository, EVERYTHING)
    counting = CountingStore(store, {"get"})
    again = reopened(repository, counting, cache=tmp_path)
    assert not [key for _, key in counting.log if key.startswith(INDEX)]
    assert sorted(again.index.packs) == sorted(Repository.open(store, PASSWORD).load_index().packs)
    assert_whole(again)


def test_a_dry_run_tells_the_same_figures_and_changes_nothing() -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(MemoryStore(objects))
    forget(repository, names[0])
    before = objects.copy()
    plan = prune(repository, EVERYTHING, dry_run=True)
    assert objects == before
    done = prune(repository, EVERYTHING)
    done.packs_written = 0
    assert plan == done
    freed = sum(map(len, before.values())) - sum(map(len, objects.values()))
    assert plan.freed_bytes <= freed < plan.freed_bytes + 2000  # headers and index objects shrink too


def test_sealed_blobs_are_copied_as_they_are() -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(MemoryStore(objects))
    place = repository.index.find(BlobType.DATA, next(iter(_data_ids(repository, noise(1)))))
    assert place is not None
    sealed = repository.read_pack(repository.index.packs[place.pack].hex(), place.offset, place.length)
    forget(repository, names[0])
    assert prune(repository, EVERYTHING).packs_repacked
    assert any(sealed in content for key, content in objects.items() if key.startswith(DATA))


def _data_ids(repository: Repository, content: bytes) -> Iterator[bytes]:
    for kind, blob_id, _ in repository.index.items():
        if kind == BlobType.DATA and repository.load_blob(kind, blob_id) == content:
            yield blob_id


def test_unreferenced_packs_go_and_what_cannot_be_removed_is_reported() -> None:
    objects: dict[str, bytes] = {}
    repository, _ = make(MemoryStore(objects))
    writer = Writer(repository)
    writer.blob(BlobType.DATA, noise(77))
    (stray,) = writer.flush(index=False)
    failing = FailingStore(MemoryStore(objects), verbs={"delete"}, from_request=1)
    progress = Silent()
    report = prune(reopened(repository, failing), EVERYTHING, watch=Watch(progress))
    assert report.left_behind == 1
    assert [path for path, _ in progress.problems] == [f"data/{stray}"]
    assert prune(reopened(repository), EVERYTHING).left_behind == 0
    assert object_key(DATA, stray) not in objects


@pytest.mark.parametrize(("limit", "repacked"), [("100%", 0), ("unlimited", 0), ("90%", 0), ("1%", 1), ("0", 1)])
def test_unused_bytes_below_the_limit_are_tolerated(limit: str, repacked: int) -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    first = writer.snapshot({"a": noise(1), "b": noise(2), "c": noise(3)}, time=TIMES[0])
    writer.snapshot({"a": noise(1), "b": noise(2)}, time=TIMES[1])
    forget(repository, first)
    options = PruneOptions(max_unused=Unused.parse(limit), repack_smaller_than=0)
    report = prune(repository, options)
    assert report.packs_repacked == repacked
    assert report.packs_removed == 1


def test_the_copying_limit_leaves_the_rest_to_the_next_prune() -> None:
    repository, names = make(MemoryStore(), snapshots=6)
    forget(repository, *names[:5:2])
    whole = prune(repository, EVERYTHING, dry_run=True)
    assert whole.packs_repacked >= 3
    limited = PruneOptions(max_unused=Unused(size=0), repack_smaller_than=0, max_repack=whole.repacked.bytes // 2)
    first = prune(repository, limited)
    assert 0 < first.repacked.bytes < limited.max_repack  # type: ignore[operator]
    for _ in range(5):
        prune(repository, limited)
    assert plan_prune(repository, EVERYTHING).report.unused.blobs == 0
    assert_whole(reopened(repository))


def test_ten_small_packs_are_joined_and_nine_are_not() -> None:
    options = PruneOptions(repack_smaller_than=1 << 20)
    for count, packs in ((4, 8), (5, 2)):
        repository, _ = make(MemoryStore(), snapshots=count)
        assert len(repository.ids(DATA)) == 2 * count
        prune(repository, options)
        assert len(repository.ids(DATA)) == packs
        assert_whole(reopened(repository))


def test_only_cacheable_packs_are_copied_on_request() -> None:
    repository, names = make(MemoryStore())
    forget(repository, names[0])
    data_packs = {place.pack for kind, _, place in repository.index.items() if kind == BlobType.DATA}
    kept = {repository.index.packs[number].hex() for number in data_packs}
    options = PruneOptions(max_unused=Unused(size=0), repack_smaller_than=0, repack_cacheable_only=True)
    prune(repository, options)
    assert kept <= repository.ids(DATA).keys()


def test_uncompressed_trees_are_compressed_and_data_on_request() -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    writer.raw = True
    writer.snapshot({"a": b"a" * 5000, "d": {"b": b"b" * 5000}})
    prune(repository, EVERYTHING)
    assert _compressed(repository) == {BlobType.TREE: {True}, BlobType.DATA: {False}}
    prune(repository, PruneOptions(repack_uncompressed=True))
    assert _compressed(repository) == {BlobType.TREE: {True}, BlobType.DATA: {True}}
    assert_whole(reopened(repository))


def test_version_1_stays_uncompressed() -> None:
    repository, names = make(MemoryStore(), version=1)
    forget(repository, names[0])
    prune(repository, PruneOptions(max_unused=Unused(size=0), repack_uncompressed=True))
    assert _compressed(repository) == {BlobType.TREE: {False}, BlobType.DATA: {False}}
    assert_whole(reopened(repository))


def _compressed(repository: Repository) -> dict[BlobType, set[bool]]:
    found: dict[BlobType, set[bool]] = {}
    for kind, _, place in repository.index.items():
        found.setdefault(kind, set()).add(place.plain_size > 0)
    return found


def test_of_a_blob_stored_twice_one_copy_stays() -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    writer.snapshot({"a": noise(1), "b": noise(2)}, time=TIMES[0])
    writer.force = True
    writer.snapshot({"a": noise(1), "c": noise(3)}, time=TIMES[1])
    report = prune(repository, EVERYTHING)
    assert report.duplicate.blobs == 1
    assert len(list(repository.index.find_all(BlobType.DATA, next(iter(_data_ids(repository, noise(1))))))) == 1
    assert_whole(reopened(repository))


@pytest.mark.parametrize("copies_first", [False, True])
def test_a_pack_of_nothing_but_copies_is_kept_instead_of_the_thin_one(copies_first: bool) -> None:
    """The leftovers of a prune that was killed after its copies were indexed."""
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    writer.force = True

    def store_copies() -> str:
        writer.blob(BlobType.DATA, noise(1))
        writer.blob(BlobType.DATA, noise(2))
        return writer.flush()[0]

    before = store_copies() if copies_first else ""
    first = writer.snapshot({"a": noise(1), "b": noise(2), "c": noise(3)}, time=TIMES[0])
    writer.force = False
    writer.snapshot({"a": noise(1), "b": noise(2)}, time=TIMES[1])
    forget(repository, first)
    writer.force = True
    copies = before or store_copies()
    report = prune(repository, EVERYTHING)
    assert report.packs_repacked == 0
    assert object_key(DATA, copies) in {info.key for info in repository.store.list(DATA)}
    assert_whole(reopened(repository))


def test_a_blob_in_two_packs_that_are_both_copied_is_copied_once() -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    writer.force = True
    first = writer.snapshot({"a": noise(1), "b": noise(2), "junk": noise(3)}, time=TIMES[0])
    second = writer.snapshot({"a": noise(1), "c": noise(4), "junk": noise(5)}, time=TIMES[1])
    writer.force = False
    writer.snapshot({"a": noise(1), "b": noise(2), "c": noise(4)}, time=TIMES[2])
    forget(repository, first, second)
    report = prune(repository, EVERYTHING)
    assert report.packs_repacked == 2
    assert _copies_of(repository, noise(1)) == 1
    assert plan_prune(repository, EVERYTHING).report.duplicate.blobs == 0


def test_a_blob_that_a_kept_pack_has_too_is_not_copied() -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    writer.force = True
    kept = {f"k{n}": noise(30 + n) for n in range(8)}
    thin = writer.snapshot(
        {"a": noise(1), "b": noise(2)} | {f"junk{n}": noise(10 + n) for n in range(6)}, time=TIMES[0]
    )
    writer.snapshot({"a": noise(1), **kept}, time=TIMES[1])
    writer.force = False
    writer.snapshot({"a": noise(1), "b": noise(2), **kept}, time=TIMES[2])
    forget(repository, thin)
    options = PruneOptions(max_unused=Unused(size=4000), repack_smaller_than=0, workers=0)
    report = prune(repository, options)
    assert report.packs_repacked == 1
    assert _copies_of(repository, noise(1)) == 1
    assert_whole(reopened(repository))


def _copies_of(repository: Repository, content: bytes) -> int:
    return len(list(repository.index.find_all(BlobType.DATA, sha256(content).digest())))


def test_mixed_packs_are_taken_apart() -> None:
    repository = new_repository(MemoryStore())
    _store_mixed(repository)
    prune(repository, EVERYTHING)
    kinds: dict[int, set[BlobType]] = {}
    for kind, _, place in repository.index.items():
        kinds.setdefault(place.pack, set()).add(kind)
    assert all(len(found) == 1 for found in kinds.values())
    assert_whole(reopened(repository))


def _store_mixed(repository: Repository) -> None:
    """One pack with the tree and the data of a snapshot."""
    writer = Writer(repository)
    tree = writer.tree({"a": noise(1)})
    trees = writer._open.pop(BlobType.TREE)
    data = writer._open[BlobType.DATA]
    data.parts += trees.parts
    data.header += trees.header
    data.size += trees.size
    writer.flush()
    payload = b'{"time":"%b","tree":"%b","paths":["/data"]}' % (TIMES[0].encode(), tree.encode())
    repository.save_object(SNAPSHOTS, payload)


# ---------------------------------------------------------------------- the index


def test_small_index_objects_are_joined_and_full_ones_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backups.engine.reindex.FULL", 4)
    repository, names = make(MemoryStore(), snapshots=4)
    first = repository.ids(INDEX)
    (full,) = [name for name in first if len(repository.load_object(INDEX, name)) == max(_lengths(repository))]
    forget(repository, names[3])
    prune(repository, EVERYTHING)
    left = repository.ids(INDEX)
    assert full in left
    assert len(left) < len(first)
    assert_whole(reopened(repository))


def _lengths(repository: Repository) -> list[int]:
    return [len(repository.load_object(INDEX, name)) for name in repository.ids(INDEX)]


def test_the_compact_table_has_a_pack_of_one_uncompressed_blob() -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    name = writer.blob(BlobType.DATA, noise(1))
    writer.flush()
    index = Index()
    for pack in repository.ids(DATA):
        index.add(bytes.fromhex(pack), b"\0" + (2032).to_bytes(4, "little") + name)
    assert index.compact().find(BlobType.DATA, name) >= 0


def test_a_pack_named_twice_is_named_once_afterwards() -> None:
    repository, names = make(MemoryStore())
    for name in list(repository.ids(INDEX)):
        repository.save_object(INDEX, repository.load_object(INDEX, name))
    forget(repository, names[0])
    prune(repository, EVERYTHING)
    named = [p for name in repository.ids(INDEX) for p in repository.load_object(INDEX, name).split(b'{"id":"')]
    packs = [part[:64] for part in named if b'"blobs":' in part]
    assert len(packs) == len(set(packs))


def test_an_index_that_the_storage_stopped_listing_loses_no_pack() -> None:
    class Forgetful(MemoryStore):
        hidden = ""

        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            return iter([info for info in super().list(prefix) if info.key != self.hidden])

    objects: dict[str, bytes] = {}
    store = Forgetful(objects)
    repository, names = make(store)
    known = repository.ids(INDEX)
    Writer(repository).snapshot({"newer": noise(5)}, time=TIMES[7])
    forget(repository, names[0])
    store.hidden = object_key(INDEX, min(repository.ids(INDEX).keys() - known))
    packs = {key for key in objects if key.startswith(DATA)}
    with pytest.raises(StoreError, match="does not list"):
        prune(repository, EVERYTHING)
    assert packs <= objects.keys()
    store.hidden = ""
    assert_whole(reopened(repository))


def test_no_pack_is_removed_while_an_index_still_names_it() -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(MemoryStore(objects))
    forget(repository, names[0])
    packs = {key for key in objects if key.startswith(DATA)}
    failing = FailingStore(MemoryStore(objects), verbs={"delete"}, at={1})
    with pytest.raises(StoreError):
        prune(reopened(repository, failing), EVERYTHING)
    assert packs <= objects.keys()
    assert_whole(reopened(repository))


# ---------------------------------------------------------------------- refusing


def test_nothing_is_removed_when_a_needed_blob_is_in_no_index() -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(MemoryStore(objects))
    forget(repository, names[0])
    repository.remove_object(INDEX, next(iter(repository.ids(INDEX))))
    before = objects.copy()
    with pytest.raises(BlobMissing):
        prune(reopened(repository), EVERYTHING)
    assert objects == before


@pytest.mark.parametrize("damage", ["missing", "short", "long"])
def test_nothing_is_removed_when_a_needed_pack_is_not_as_indexed(damage: str) -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(MemoryStore(objects))
    forget(repository, names[2])
    place = repository.index.find(BlobType.DATA, next(iter(_data_ids(repository, noise(1)))))
    assert place is not None
    key = object_key(DATA, repository.index.packs[place.pack].hex())
    content = objects.pop(key)
    if damage != "missing":
        objects[key] = content[:-1] if damage == "short" else content + b"x"
    before = objects.copy()
    with pytest.raises(Corrupt, match="repair index"):
        prune(reopened(repository), EVERYTHING)
    assert objects == before


def test_a_missing_pack_that_nothing_needs_is_dropped_from_the_index() -> None:
    objects: dict[str, bytes] = {}
    repository, _ = make(MemoryStore(objects))
    writer = Writer(repository)
    writer.blob(BlobType.DATA, noise(78))
    (name,) = writer.flush()
    del objects[object_key(DATA, name)]
    report = prune(reopened(repository), EVERYTHING)
    assert report.packs_missing == 1
    assert_whole(reopened(repository))


def test_a_damaged_blob_is_taken_from_its_other_copy() -> None:
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))
    writer = Writer(repository)
    first = writer.snapshot({"a": noise(1), "b": noise(2)}, time=TIMES[0])
    writer.snapshot({"a": noise(1)}, time=TIMES[1])
    writer.force = True
    writer.blob(BlobType.DATA, noise(1))
    (copy,) = writer.flush()
    place = next(iter(repository.index.find_all(BlobType.DATA, next(iter(_data_ids(repository, noise(1)))))))
    before = contents(repository)[TIMES[1]]
    forget(repository, first)
    for number in {place.pack, repository.index.number(bytes.fromhex(copy))}:
        assert number is not None
        key = object_key(DATA, repository.index.packs[number].hex())
        if number == place.pack:
            whole = bytearray(objects[key])
            whole[place.offset + 20] ^= 1
            objects[key] = bytes(whole)
    prune(reopened(repository), PruneOptions(max_unused=Unused(size=0), repack_smaller_than=1 << 20))
    assert contents(reopened(repository))[TIMES[1]] == before


def test_a_blob_damaged_everywhere_stops_before_its_pack_is_removed() -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(MemoryStore(objects))
    forget(repository, names[0])
    place = repository.index.find(BlobType.DATA, next(iter(_data_ids(repository, noise(1)))))
    assert place is not None
    key = object_key(DATA, repository.index.packs[place.pack].hex())
    whole = bytearray(objects[key])
    whole[place.offset + 20] ^= 1
    objects[key] = bytes(whole)
    with pytest.raises(Corrupt):
        prune(reopened(repository), EVERYTHING)
    assert key in objects
    assert any(key.startswith(INDEX) for key in objects)


@pytest.mark.parametrize("lie", [LyingStore, TruncatingStore])
@pytest.mark.parametrize("kind", [DATA, INDEX])
def test_a_storage_that_lies_about_a_put_loses_nothing(lie: Callable[..., ObjectStore], kind: str) -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(MemoryStore(objects))
    before = contents(repository)
    forget(repository, names[0])
    lying = lie(MemoryStore(objects), keys=lambda key: key.startswith(kind))
    with pytest.raises((Corrupt, ObjectMissing)):
        prune(reopened(repository, lying), EVERYTHING)
    for name in [key for key in objects if key.startswith(INDEX) and len(objects[key]) < 200]:
        del objects[name]
    again = Repository.open(MemoryStore(objects), PASSWORD)
    again.load_index(on_damage=lambda _: None)
    del before[TIMES[0]]
    assert contents(again) == before


# ---------------------------------------------------------------------- being stopped


def _killed(objects: dict[str, bytes], at: int, after: bool, options: PruneOptions) -> bool:
    """Run a prune that dies at a request; tell whether it died."""
    store = DyingStore(MemoryStore(objects), at, after=after, verbs={"put", "delete", "get", "stat", "list"})
    try:
        repository = Repository.open(store, PASSWORD)
        repository.load_index()
        prune(repository, options)
    except Died:
        return True
    return False


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_request_every_snapshot_reads_back_and_the_next_prune_finishes(after: bool) -> None:
    origin: dict[str, bytes] = {}
    repository, names = make(MemoryStore(origin), snapshots=4)
    Writer(repository).snapshot({"large": [noise(n, 300) for n in range(40)]}, time=TIMES[8])
    forget(repository, names[0], names[2])
    Writer(repository).blob(BlobType.DATA, noise(55))
    expected = contents(reopened(repository))
    at = 0
    while True:
        at += 1
        objects = origin.copy()
        if not _killed(objects, at, after, EVERYTHING):
            break
        again = reopened(Repository.open(MemoryStore(objects), PASSWORD))
        assert contents(again) == expected, f"killed at request {at}"
        assert_whole(again)
        prune(again, EVERYTHING)
        final = reopened(again)
        assert contents(final) == expected
        assert plan_prune(final, EVERYTHING).report.unused.blobs == 0
        assert final.ids(DATA).keys() == {name.hex() for name in final.index.packs}
    assert at > 20


def test_killed_at_any_change_stock_check_finds_nothing_worse_than_unreferenced_packs(
    tmp_path: Path, newest_restic: Restic
) -> None:
    origin: dict[str, bytes] = {}
    repository, names = make(MemoryStore(origin), snapshots=4)
    forget(repository, names[0], names[2])
    at = 0
    while True:
        at += 1
        objects = origin.copy()
        store = DyingStore(MemoryStore(objects), at, verbs={"put", "delete"})
        try:
            prune(reopened(repository, store), EVERYTHING)
        except Died:
            path = on_disk(objects, tmp_path / str(at))
            newest_restic.run(path, "check", "--read-data")
        else:
            break
    assert at > 8


def test_a_cancelled_prune_keeps_its_copies_and_the_next_one_does_not_copy_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(MemoryStore):
        def put(self, key: str, data: Data) -> None:
            sleep(0.02)
            super().put(key, data)

    monkeypatch.setattr("backups.engine.watch._SHOW_SECONDS", 0.0)
    repository, names = make(Slow(), snapshots=10)
    forget(repository, *names[:9:2])
    expected = contents(repository)
    cancel = CancelToken()

    class StopsAfterTwo(Silent):
        def update(self, *, files: int = 0, item: str = "", **_: int) -> None:
            if item == "repacking" and files == 2:
                cancel.cancel()

    options = PruneOptions(max_unused=Unused(size=0), repack_smaller_than=0, pack_size=2000, workers=0)
    whole = plan_prune(repository, options).report.packs_repacked
    with pytest.raises(Canceled):
        prune(repository, options, watch=Watch(StopsAfterTwo(), cancel))
    again = reopened(repository)
    assert contents(again) == expected
    left = plan_prune(again, options).report
    assert left.packs_repacked < whole
    assert left.packs_unreferenced == 0


def test_a_lost_lock_stops_before_anything_is_lost() -> None:
    for calls in range(1, 40):
        objects: dict[str, bytes] = {}
        repository, names = make(MemoryStore(objects), snapshots=4)
        forget(repository, names[0], names[2])
        expected = contents(repository)
        left = iter(range(calls))

        def guard(left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise LockLost("gone, says the test")

        try:
            prune(reopened(repository), EVERYTHING, watch=Watch(guard=guard))
        except LockLost:
            assert contents(reopened(repository)) == expected
            assert_whole(reopened(repository))
        else:
            break
    assert calls > 8


def test_a_storage_that_still_lists_forgotten_snapshots_can_be_pruned_at_once() -> None:
    objects: dict[str, bytes] = {}
    names = make(MemoryStore(objects))[1]
    store = LaggyStore(MemoryStore(objects), requests=1000)
    repository = reopened(Repository.open(store, PASSWORD))
    forget(repository, names[0])
    assert names[0] in repository.ids(SNAPSHOTS)
    with pytest.raises(ObjectMissing):
        prune(repository, EVERYTHING)
    assert prune(repository, EVERYTHING, forgotten=[names[0]]).packs_removed


def test_a_lost_connection_leaves_a_whole_repository() -> None:
    for request in range(1, 40, 3):
        objects: dict[str, bytes] = {}
        repository, names = make(MemoryStore(objects))
        forget(repository, names[0])
        expected = contents(repository)
        broken = FailingStore(MemoryStore(objects), from_request=request, verbs={"put", "delete"})
        with suppress(StoreError):
            prune(reopened(repository, broken), EVERYTHING)
        assert contents(reopened(repository)) == expected
        assert_whole(reopened(repository))


# ---------------------------------------------------------------------- helpers, and others


def test_forked_helpers_copy_the_same_blobs(tmp_path: Path) -> None:
    repository = new_repository(local(tmp_path))
    writer = Writer(repository)
    first = [writer.snapshot({f"f{n}": noise(10 * k + n) for n in range(6)}, time=TIMES[k]) for k in range(8)]
    writer.snapshot({f"k{k}": noise(10 * k) for k in range(8)}, time=TIMES[20])
    expected = contents(repository)[TIMES[20]]
    forget(repository, *first)
    report = prune(repository, PruneOptions(max_unused=Unused(size=0), workers=2))
    assert report.packs_repacked == 8
    assert report.packs_written == 1  # what two helpers left half full is joined
    again = reopened(repository)
    assert contents(again) == {TIMES[20]: expected}
    assert_whole(again)


@pytest.mark.parametrize("version", [1, 2])
def test_stock_reads_what_prune_left(tmp_path: Path, restic: Restic, version: int) -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(MemoryStore(objects), snapshots=4, version=version)
    forget(repository, names[0], names[2])
    expected = contents(repository)[TIMES[3]]
    prune(repository, PruneOptions(max_unused=Unused(size=0)))
    path = on_disk(objects, tmp_path / "repository")
    restic.run(path, "check", "--read-data")
    restic.run(path, "restore", names[3], "--target", tmp_path / "out")
    assert (tmp_path / "out" / "common").read_bytes() == expected["common"]
    assert (tmp_path / "out" / "d" / "last").read_bytes() == noise(202)
    assert re.search(r"to repack: +0 blobs", restic.run(path, "prune", "--dry-run", "--max-unused", "0").stdout)


@pytest.mark.parametrize("version", [1, 2])
def test_we_prune_what_stock_wrote(tmp_path: Path, restic: Restic, version: int) -> None:
    objects: dict[str, bytes] = {}
    new_repository(MemoryStore(objects), version=version)
    path = on_disk(objects, tmp_path / "repository")
    source = tmp_path / "source"
    source.mkdir()
    for n in range(3):
        for m in range(4):
            (source / f"f{m}").write_bytes(noise(m or n, 30_000))
        (source / "text").write_text(f"round {n}\n" * 1000)
        restic.run(path, "backup", source)
    restic.run(path, "forget", "--keep-last", "1")
    repository = Repository.open(local(path), PASSWORD)
    repository.load_index()
    (snapshot,) = repository.snapshots()
    report = prune(repository, EVERYTHING)
    assert report.unused.blobs > 0
    restic.run(path, "check", "--read-data")
    restic.run(path, "restore", snapshot.id, "--target", tmp_path / "out", "--verify")
    assert (tmp_path / "out" / source.relative_to("/") / "f0").read_bytes() == noise(2, 30_000)
    restic.run(path, "prune", "--max-unused", "0")
    assert_whole(reopened(repository))


# ---------------------------------------------------------------------- words


@given(st.integers(0, 10**12), st.sampled_from(["", "K", "m", "G", "T", "KiB", "B"]))
def test_sizes_with_a_suffix_are_powers_of_1024(number: int, suffix: str) -> None:
    power = {"": 0, "B": 0, "K": 1, "KIB": 1, "M": 2, "G": 3, "T": 4}[suffix.upper()]
    assert parse_size(f"{number}{suffix}") == number * 1024**power


@pytest.mark.parametrize("text", ["", "K", "-1", "1.5G", "x", "\u0661", "5%5", "101%", "-1%", "nan%", "%"])
def test_nonsense_limits_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        Unused.parse(text)


def test_a_percentage_is_a_share_of_what_remains() -> None:
    assert Unused.parse("20%").limit(800) == pytest.approx(200)
    assert Unused.parse("unlimited").limit(800) == float("inf")
    assert Unused.parse("3K").limit(800) == 3072


def test_an_oversized_index_object_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    repository, _ = make(MemoryStore())
    (single,) = rewrite_index(repository).present
    monkeypatch.setattr("backups.engine.reindex.FULL", 3)
    monkeypatch.setattr("backups.engine.reindex.OVERSIZED", 5)
    done = rewrite_index(repository)
    assert single not in done.present
    assert len(done.present) > 1
    assert_whole(reopened(repository))

"""Checks: every kind of damage is found, named, and tied to the snapshots that suffer; nothing else is."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine import keys
from backups.engine.blob import BlobType, Codec, seal_blob
from backups.engine.check_subset import Position, Subset
from backups.engine.checker import Check, CheckOptions
from backups.engine.errors import BadRequest, Canceled
from backups.engine.findings import Finding
from backups.engine.index_file import encode_index
from backups.engine.layout import DATA, INDEX, KEYS, SNAPSHOTS, object_key
from backups.engine.names import name_json
from backups.engine.pack import Entry, PackBuilder, parse_header
from backups.engine.ports import CancelToken
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot, encode_snapshot
from backups.engine.tree import encode_dir_node, encode_file_node, encode_tree, go_mode, owner_json
from backups.sources import FolderSource
from destinations.storage.base import Capabilities, ObjectStore
from destinations.storage.local import LocalStore
from destinations.storage.memory import MemoryStore
from destinations.storage.wrappers.base import Wrapper
from tests.engine.repositories import PASSWORD, QUICK, TIME, Writer, new_repository, noise, reopened
from tests.engine.running import run_backup
from tests.fakes.faulty_store import CorruptingStore

OWNER = owner_json(0, 0, "root", "root")
EVERYTHING = Subset()


@pytest.fixture
def repository() -> Repository:
    """Two snapshots that share a folder, each with something of its own, in several packs."""
    repository = new_repository(MemoryStore())
    writer = Writer(repository, pack_blobs=3)
    shared = {f"{number}": noise(number) for number in range(5)}
    writer.snapshot({"shared": shared, "own": {"one": noise(100)}}, time="2024-01-01T00:00:00Z")
    writer.snapshot({"shared": shared, "own": {"two": noise(200)}}, time="2024-01-02T00:00:00Z")
    return repository


def checked(repository: Repository, **options: Any) -> tuple[list[Finding], Check]:
    return checked_in(repository.store, **options)


def checked_in(store: ObjectStore, **options: Any) -> tuple[list[Finding], Check]:
    fresh = Repository.open(store, PASSWORD)
    check = Check(fresh, CheckOptions(**({"workers": 0} | options)))
    return list(check.findings()), check


def codes(findings: list[Finding]) -> list[str]:
    return sorted(finding.code for finding in findings)


def put_snapshot(repository: Repository, tree: str) -> str:
    return repository.save_object(SNAPSHOTS, encode_snapshot(Snapshot(time=TIME, tree=tree, paths=["/x"])))


def pack_of(repository: Repository, kind: BlobType, blob_id: bytes) -> str:
    place = repository.index.find(kind, blob_id)
    assert place is not None
    return repository.index.packs[place.pack].hex()


def flip(repository: Repository, kind: BlobType, blob_id: bytes) -> str:
    """Flip a bit of a stored blob; return its pack."""
    place = repository.index.find(kind, blob_id)
    assert place is not None
    name = repository.index.packs[place.pack].hex()
    flip_byte(repository, object_key(DATA, name), place.offset + 20)
    return name


def flip_byte(repository: Repository, key: str, at: int) -> None:
    data = bytearray(repository.store.get(key))
    data[at] ^= 0x10
    repository.store.put(key, bytes(data))


def put_pack(repository: Repository, *blobs: tuple[BlobType, bytes], change: Any = None, indexed: bool = True) -> str:
    """Store a pack of these blobs; ``change`` alters the entries the index is given."""
    builder = PackBuilder(blobs[0][0])
    for kind, plain in blobs:
        sealed, size = seal_blob(repository.key, Codec(), kind, plain)
        builder.kind = kind
        builder.add(sha256(plain).digest(), sealed, size)
    pack = builder.finish(repository.key)
    repository.store.put(object_key(DATA, pack.id), pack.parts)
    entries = parse_header(pack.header)
    if indexed:
        repository.save_object(INDEX, encode_index([(pack.id, change(entries) if change else entries)]))
    return pack.id


# ---------------------------------------------------------------------- sound repositories


@pytest.mark.parametrize("workers", [0, 2], ids=["alone", "with helpers"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_sound_repository_has_no_findings(awkward_tree: bytes, tmp_path: Path, version: int, workers: int) -> None:
    repository = new_repository(LocalStore(tmp_path), version=version)
    run_backup(repository, FolderSource([awkward_tree]))

    findings, check = checked(repository, read=EVERYTHING, workers=workers)

    assert findings == []
    counts = check.counts
    assert (counts.errors, counts.hints, counts.snapshots) == (0, 0, 1)
    assert counts.trees > 40
    assert counts.blobs > 600
    assert counts.packs_read == counts.packs == len(repository.ids(DATA))
    assert counts.bytes_read == sum(repository.ids(DATA).values())
    assert check.position is None


def test_without_reading_no_data_pack_is_read(repository: Repository) -> None:
    flip(repository, BlobType.DATA, sha256(noise(1)).digest())

    findings, check = checked(repository)

    assert findings == []
    assert check.counts.packs_read == 0


class FarStore(Wrapper):
    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(connections=3, forkable=False)


def test_threads_check_a_store_that_children_cannot_use(repository: Repository) -> None:
    flip(repository, BlobType.DATA, sha256(noise(1)).digest())

    findings, _ = checked_in(FarStore(repository.store), read=EVERYTHING, workers=None)

    assert codes(findings) == ["blob-damaged", "pack-content"]


def test_many_trees_are_shared_out_among_helpers(tmp_path: Path) -> None:
    repository = new_repository(LocalStore(tmp_path))
    writer = Writer(repository, pack_blobs=500)
    writer.snapshot({f"{a}": {f"{b}": {"file": b"%d %d" % (a, b)} for b in range(40)} for a in range(60)})

    findings, check = checked(repository, workers=2)

    assert findings == []
    assert check.counts.trees == 1 + 60 + 2400
    assert check.counts.blobs == 2400


def test_a_check_changes_nothing(repository: Repository) -> None:
    flip(repository, BlobType.DATA, sha256(noise(1)).digest())
    repository.store.delete(object_key(DATA, pack_of(repository, BlobType.DATA, sha256(noise(100)).digest())))
    before = {info.key: repository.store.get(info.key) for info in repository.store.list("")}

    checked(repository, read=EVERYTHING)

    assert {info.key: repository.store.get(info.key) for info in repository.store.list("")} == before


def test_a_canceled_check_ends(repository: Repository) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Canceled):
        list(Check(reopened(repository), CheckOptions(workers=0), cancel=cancel).findings())


# ---------------------------------------------------------------------- damage


def test_a_damaged_blob_is_found_with_the_snapshots_and_a_path_that_suffer(repository: Repository) -> None:
    snapshots = {snapshot.time: snapshot.id for snapshot in repository.snapshots()}
    shared, own = sha256(noise(1)), sha256(noise(100))
    flip(repository, BlobType.DATA, shared.digest())
    flip(repository, BlobType.DATA, own.digest())

    findings, check = checked(repository, read=EVERYTHING)

    damaged = {finding.object_id: finding for finding in findings if finding.code == "blob-damaged"}
    assert set(damaged) == {shared.hexdigest(), own.hexdigest()}
    assert sorted(damaged[shared.hexdigest()].snapshots) == sorted(snapshots.values())
    assert damaged[shared.hexdigest()].path == b"/shared/1"
    assert damaged[own.hexdigest()].snapshots == (snapshots["2024-01-01T00:00:00Z"],)
    assert damaged[own.hexdigest()].path == b"/own/one"
    assert check.counts.errors == len(findings)


@pytest.mark.parametrize("workers", [0, 2], ids=["alone", "with helpers"])
def test_a_missing_pack_is_one_finding_and_its_blobs_are_unknown_from_then_on(
    repository: Repository, workers: int
) -> None:
    one = sha256(noise(200)).digest()
    pack = pack_of(repository, BlobType.DATA, one)
    repository.store.delete(object_key(DATA, pack))

    findings, check = checked(repository, read=EVERYTHING, workers=workers)

    assert codes(findings) == ["pack-missing"]
    assert (findings[0].object_id, len(findings[0].snapshots)) == (pack, 1)
    assert findings[0].path == b"/own/two"
    assert check.missing_packs == [pack]
    assert not check.repository.index.has(BlobType.DATA, one)


def test_a_missing_pack_of_trees_names_the_snapshots_above_it(repository: Repository) -> None:
    for snapshot in repository.snapshots():
        pack = pack_of(repository, BlobType.TREE, bytes.fromhex(snapshot.tree))
    repository.store.delete(object_key(DATA, pack))

    findings, _ = checked(repository)

    assert codes(findings) == ["pack-missing"]
    assert snapshot.id in findings[0].snapshots


def test_a_copy_elsewhere_saves_the_snapshots_and_not_the_finding(repository: Repository) -> None:
    one = sha256(noise(100)).digest()
    pack = pack_of(repository, BlobType.DATA, one)
    plains = [
        repository.load_blob(k, i)
        for k, i, p in repository.index.items()
        if repository.index.packs[p.pack].hex() == pack
    ]
    put_pack(repository, *((BlobType.DATA, plain) for plain in plains))
    repository.store.delete(object_key(DATA, pack))

    findings, _ = checked(repository)

    assert [(finding.code, finding.snapshots) for finding in findings] == [("pack-missing", ())]


@pytest.mark.parametrize("cut", [1, 40, 1500])
def test_a_pack_that_is_too_short_or_too_long_is_found_without_reading_it(repository: Repository, cut: int) -> None:
    name = pack_of(repository, BlobType.DATA, sha256(noise(1)).digest())
    whole = repository.store.get(object_key(DATA, name))

    for data in (whole[:-cut], whole + bytes(cut)):
        repository.store.put(object_key(DATA, name), data)
        assert codes(checked(repository)[0]) == ["pack-size"]
        assert "pack-size" in codes(checked(repository, read=EVERYTHING)[0])


@pytest.mark.parametrize("place", ["first byte", "header", "length of the header"])
def test_damage_beside_the_blobs_is_found_by_reading(repository: Repository, place: str) -> None:
    name = pack_of(repository, BlobType.DATA, sha256(noise(1)).digest())
    size = repository.ids(DATA)[name]
    at = {"first byte": 0, "header": size - 30, "length of the header": size - 4}[place]
    flip_byte(repository, object_key(DATA, name), at)

    findings, _ = checked(repository, read=EVERYTHING)

    assert "pack-content" in codes(findings)
    assert ("pack-header" in codes(findings)) == (at > 0)
    assert ("blob-damaged" in codes(findings)) == (at == 0)


def test_a_damaged_tree_is_found_by_the_structure(repository: Repository) -> None:
    snapshot = repository.snapshots()[0]
    flip(repository, BlobType.TREE, bytes.fromhex(snapshot.tree))

    findings, _ = checked(repository)

    assert [(f.code, f.object_id, f.snapshots) for f in findings] == [("tree-damaged", snapshot.tree, (snapshot.id,))]


def test_a_read_that_fails_once_is_a_hint_and_no_error(repository: Repository) -> None:
    reads: Counter[str] = Counter()

    def first_times(key: str) -> bool:
        reads[key] += 1
        return key.startswith("data/") and reads[key] <= 2

    fresh = reopened(repository)
    check = Check(fresh, CheckOptions(structure=False, read=EVERYTHING, workers=0))
    fresh.store = CorruptingStore(repository.store, keys=first_times)

    findings = list(check.findings())

    assert set(codes(findings)) == {"pack-unstable"}
    assert (check.counts.errors, check.counts.hints) == (0, len(findings))


def test_a_damaged_index_object_is_found_even_where_a_cached_table_has_its_content(
    repository: Repository, tmp_path: Path
) -> None:
    cached = reopened(repository, cache=tmp_path)
    cached.index.compact()
    cached.use_index(cached.index, set(repository.ids(INDEX)))
    name = sorted(repository.ids(INDEX))[0]
    flip_byte(repository, object_key(INDEX, name), 40)

    findings = list(Check(reopened_cached(repository, tmp_path), CheckOptions(workers=0)).findings())

    assert [(f.code, f.object_id) for f in findings if f.code == "index-damaged"] == [("index-damaged", name)]


def reopened_cached(repository: Repository, cache: Path) -> Repository:
    return Repository.open(repository.store, PASSWORD, cache_root=cache)


def test_a_lost_index_object_leaves_unknown_blobs_and_packs(repository: Repository) -> None:
    name = sorted(repository.ids(INDEX))[0]
    repository.store.delete(object_key(INDEX, name))

    findings, _ = checked(repository)

    assert "pack-unknown" in codes(findings)
    assert {"blob-missing", "tree-missing"} & set(codes(findings))
    assert all(f.snapshots for f in findings if f.code in ("blob-missing", "tree-missing"))


def test_a_damaged_snapshot_is_found(repository: Repository) -> None:
    name = sorted(repository.ids(SNAPSHOTS))[0]
    flip_byte(repository, object_key(SNAPSHOTS, name), 40)

    findings, check = checked(repository)

    assert [(f.code, f.object_id, f.snapshots) for f in findings] == [("snapshot-damaged", name, (name,))]
    assert check.counts.snapshots == 1


def test_a_pack_no_index_knows_is_a_hint(repository: Repository) -> None:
    name = put_pack(repository, (BlobType.DATA, b"left over"), indexed=False)

    findings, check = checked(repository)

    assert [(f.code, f.object_id, f.severity) for f in findings] == [("pack-unknown", name, "hint")]
    assert (check.counts.errors, check.counts.hints) == (0, 1)


def test_trees_and_data_in_one_pack_are_a_hint(repository: Repository) -> None:
    put_pack(repository, (BlobType.DATA, b"data"), (BlobType.TREE, b'{"nodes":[]}\n'))

    findings, _ = checked(repository, read=EVERYTHING)

    assert [(f.code, f.severity) for f in findings] == [("pack-mixed", "hint")]


def test_a_pack_in_two_index_objects_is_a_hint_and_if_they_differ_an_error(repository: Repository) -> None:
    pack = put_pack(repository, (BlobType.DATA, b"one" * 20), (BlobType.DATA, b"two" * 20))
    entries = reopened(repository).read_header(pack, repository.ids(DATA)[pack])
    repository.save_object(INDEX, encode_index([(pack, entries)]))
    assert [(f.code, f.severity) for f in checked(repository)[0]] == [("pack-indexed-twice", "hint")]

    repository.save_object(INDEX, encode_index([(pack, entries[:1])]))

    assert "pack-indexed-differently" in codes(checked(repository)[0])


def shifted(entries: list[Entry]) -> list[Entry]:
    return [entry._replace(offset=entry.offset + 1) for entry in entries]


def grown(entries: list[Entry]) -> list[Entry]:
    return [entry._replace(length=entry.length + 1) if entry.offset else entry for entry in entries]


def renamed(entries: list[Entry]) -> list[Entry]:
    return [entry._replace(id=bytes(32)) for entry in entries]


@pytest.mark.parametrize("change", [shifted, grown, renamed, lambda entries: entries[:1], lambda entries: entries[1:]])
def test_an_index_that_does_not_agree_with_the_pack_is_found(repository: Repository, change: Any) -> None:
    put_pack(repository, (BlobType.DATA, b"one" * 20), (BlobType.DATA, b"two" * 20), change=change)

    findings, check = checked(repository, read=EVERYTHING)

    assert check.counts.errors
    assert {"pack-size", "pack-gaps", "pack-header"} & set(codes(findings))


def test_an_index_whose_blobs_do_not_fill_the_pack_is_found_without_reading(repository: Repository) -> None:
    put_pack(repository, (BlobType.DATA, b"one" * 20), (BlobType.DATA, b"two" * 20), change=shifted)

    assert codes(checked(repository)[0]) == ["pack-gaps"]


@pytest.mark.parametrize("damage", ["a changed note", "no JSON"])
def test_a_damaged_key_file_beside_a_good_one_is_found(repository: Repository, damage: str) -> None:
    raw = keys.wrap(repository.key, "another", QUICK, created="2024-01-01T00:00:00Z")
    name = keys.key_id(raw)
    if damage == "no JSON":
        raw = b"garbage"
        name = keys.key_id(raw)
    else:
        raw = raw.replace(b"2024", b"2025")
    repository.store.put(object_key(KEYS, name), raw)
    findings, check = checked(repository)
    assert [(f.code, f.kind, f.object_id) for f in findings] == [("key-damaged", "key", name)]
    assert check.counts.errors == 1


def test_an_index_object_under_a_name_that_is_not_its_own_is_found(repository: Repository) -> None:
    name = sorted(repository.ids(INDEX))[0]
    repository.store.put(object_key(INDEX, "ab" * 32), repository.store.get(object_key(INDEX, name)))

    assert [(f.code, f.object_id) for f in checked(repository)[0]] == [("index-damaged", "ab" * 32)]


def test_every_flipped_byte_of_a_pack_is_found(repository: Repository) -> None:
    name = pack_of(repository, BlobType.TREE, bytes.fromhex(repository.snapshots()[0].tree))
    whole = repository.store.get(object_key(DATA, name))
    rng = random.Random(3)
    for at in sorted(rng.sample(range(len(whole)), 60)):
        data = bytearray(whole)
        data[at] ^= 1 << rng.randrange(8)
        repository.store.put(object_key(DATA, name), bytes(data))
        _, check = checked(repository, read=EVERYTHING)
        assert check.counts.errors, f"byte {at}"
    repository.store.put(object_key(DATA, name), whole)
    assert checked(repository, read=EVERYTHING)[0] == []


# ---------------------------------------------------------------------- hostile trees


def snapshot_of_tree(data: bytes) -> Repository:
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    writer.blob(BlobType.DATA, b"there")
    tree = writer.blob(BlobType.TREE, data).hex()
    writer.flush()
    put_snapshot(repository, tree)
    return repository


THERE = sha256(b"there").hexdigest()


@pytest.mark.parametrize(
    "data",
    [
        b"not JSON",
        b'{"nodes":null}',
        b"[]",
        b'{"nodes":[{"name":"x","type":"irregular","content":null}]}',
        b'{"nodes":[{"name":"x","type":"file","content":null}]}',
        b'{"nodes":[{"name":"","type":"file","content":[]}]}',
        b'{"nodes":[{"name":"x","type":"file","content":["ab"]}]}',
        b'{"nodes":[{"name":"x","type":"file","content":["%b"]}]}' % (b"zz" * 32),
        b'{"nodes":[{"name":"x","type":"file","content":["%b","%b"]}]}' % (b"a" * 63, b"a" * 65),
        b'{"nodes":[{"name":"x","type":"dir","content":null}]}',
        b'{"nodes":[{"name":"x","type":"dir","content":null,"subtree":"short"}]}',
        b'{"nodes":[' + b"[" * 100_000,
    ],
)
def test_a_tree_no_program_writes_is_a_finding(data: bytes) -> None:
    findings, _ = checked(snapshot_of_tree(data))

    assert [(f.code, f.object_id, len(f.snapshots)) for f in findings] == [
        ("tree-invalid", sha256(data).hexdigest(), 1)
    ]


def test_a_tree_of_more_items_than_fit_is_not_even_decoded() -> None:
    findings, _ = checked(snapshot_of_tree(b'{"nodes":[' + b"{}," * 2_000_000 + b"{}]}"))

    assert "more items than any folder has" in findings[0].message


def test_a_file_whose_content_is_unknown_is_a_finding_and_the_rest_is_looked_at() -> None:
    nodes = [
        encode_file_node(name_json(b"bad"), 420, TIME, TIME, OWNER, 1, 1, 5, 1, ["ab" * 32]),
        encode_file_node(name_json(b"good"), 420, TIME, TIME, OWNER, 1, 1, 5, 1, [THERE]),
        encode_dir_node(name_json(b"gone"), go_mode(0o40755), TIME, TIME, OWNER, 1, 1, "cd" * 32),
    ]

    findings, check = checked(snapshot_of_tree(encode_tree(nodes)))

    assert {(f.code, f.object_id, f.path) for f in findings} == {
        ("blob-missing", "ab" * 32, b"/bad"),
        ("tree-missing", "cd" * 32, b"/gone"),
    }
    assert check.counts.blobs == 2


def test_a_tree_below_itself_a_thousand_times_is_read_once() -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository, pack_blobs=10**6)
    tree = writer.tree({"file": b"at the bottom"})
    for _ in range(1500):
        tree = writer.above(tree, "a", "b", "c")
    writer.flush()
    put_snapshot(repository, tree)
    flip(repository, BlobType.DATA, sha256(b"at the bottom").digest())

    findings, check = checked(repository, read=EVERYTHING)

    assert check.counts.trees == 1501
    damaged = next(finding for finding in findings if finding.code == "blob-damaged")
    assert damaged.path == b"/a" * 1500 + b"/file"


def test_a_blob_that_decompresses_to_more_than_it_says_is_damage_and_not_memory(repository: Repository) -> None:
    bomb = Codec().compress(bytes(50_000_000))
    sealed = repository.key.seal(bomb)
    builder = PackBuilder(BlobType.DATA)
    builder.add(sha256(b"bomb").digest(), sealed, 1000)
    pack = builder.finish(repository.key)
    repository.store.put(object_key(DATA, pack.id), pack.parts)
    repository.save_object(INDEX, encode_index([(pack.id, parse_header(pack.header))]))

    findings, _ = checked(repository, read=EVERYTHING)

    assert [(f.code, f.object_id) for f in findings] == [("blob-damaged", sha256(b"bomb").hexdigest())]
    assert "decompresses to more than it claims" in findings[0].message


def test_thousands_of_findings_are_counted_and_not_all_spelled_out() -> None:
    ids = [sha256(b"%d" % number).hexdigest() for number in range(1500)]
    nodes = [
        encode_file_node(name_json(b"%05d" % number), 420, TIME, TIME, OWNER, 1, 1, 5, 1, [name])
        for number, name in enumerate(ids)
    ]

    findings, check = checked(snapshot_of_tree(encode_tree(nodes)))

    assert len(findings) <= 1001
    assert check.counts.errors == 1500


# ---------------------------------------------------------------------- parts and positions


def many_packs() -> Repository:
    repository = new_repository(MemoryStore())
    Writer(repository, pack_blobs=1).snapshot({f"{number:02d}": noise(number, 500) for number in range(30)})
    return repository


def test_all_parts_together_read_every_pack_once() -> None:
    repository = many_packs()
    packs = [(bytes.fromhex(name), size) for name, size in repository.ids(DATA).items()]

    chosen = [pack for part in range(1, 8) for pack in Subset(part, 7).choose(packs, "")]

    assert sorted(chosen) == sorted(pack for pack, _ in packs)
    for part in range(1, 8):
        assert all(pack[0] % 7 == part - 1 for pack in Subset(part, 7).choose(packs, ""))


def test_a_percentage_or_size_is_drawn_by_the_seed() -> None:
    packs = [(sha256(b"%d" % number).digest(), 100) for number in range(200)]
    ten = Subset.parse("10%").choose(packs, "seed")
    assert len(ten) == 20
    assert ten == Subset.parse("10%").choose(packs, "seed") != Subset.parse("10%").choose(packs, "other")
    assert len(Subset.parse("1K").choose(packs, "seed")) == 11
    assert len(Subset.parse("0.01%").choose(packs, "seed")) == 1
    assert len(Subset.parse("100%").choose(packs, "seed")) == len(Subset.parse("1G").choose(packs, "seed")) == 200


@pytest.mark.parametrize("text", ["", "0/5", "6/5", "1/300", "0%", "101%", "x", "-1", "1/0", "5", "0", "1//2", "0K"])
def test_a_subset_that_is_none_is_refused(text: str) -> None:
    if text == "5":
        assert Subset.parse(text).size == 5
        return
    with pytest.raises(BadRequest):
        Subset.parse(text)


class Clock:
    """Each look at it takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.mark.parametrize("subset", ["3/4", "60%", "1G", None])
def test_slices_with_a_deadline_read_every_chosen_pack_once(subset: str | None) -> None:
    repository = many_packs()
    chosen = Subset.parse(subset) if subset else EVERYTHING
    position = None
    sizes = []
    for _ in range(40):
        findings, check = checked(
            repository, structure=False, read=chosen, position=position, deadline=6.0, clock=Clock()
        )
        assert findings == []
        sizes.append(check.counts.packs_read)
        if check.position is None:
            break
        position = Position.from_json(json.loads(json.dumps(check.position.to_json())))
    whole, everything = checked(repository, structure=False, read=chosen)
    expected = everything.counts.packs_read if subset != "60%" else round(0.6 * len(repository.ids(DATA)))
    assert sum(sizes) == expected
    assert max(sizes) <= 6
    assert whole == []


def test_a_deadline_that_has_passed_reads_nothing_and_loses_no_place() -> None:
    repository = many_packs()

    _, check = checked(repository, read=EVERYTHING, deadline=0.0, clock=Clock())

    assert check.counts.packs_read == 0
    assert check.position is not None
    _, rest = checked(repository, position=check.position)
    assert rest.counts.packs_read == len(repository.ids(DATA))
    assert rest.position is None


def test_with_helpers_the_position_is_behind_no_unread_pack(tmp_path: Path) -> None:
    repository = new_repository(LocalStore(tmp_path))
    Writer(repository, pack_blobs=1).snapshot({f"{number:02d}": noise(number, 500) for number in range(30)})

    _, check = checked(repository, read=EVERYTHING, workers=2, deadline=9.0, clock=Clock())

    assert check.position is not None
    done = [name for name in sorted(repository.ids(DATA)) if name <= check.position.after]
    assert len(done) == check.counts.packs_read
    _, rest = checked(repository, position=check.position, workers=2)
    assert rest.counts.packs_read == len(repository.ids(DATA)) - len(done)


class WaitingStore(FarStore):
    """Gives one pack away only after so many others, when it has told so."""

    def __init__(self, inner: ObjectStore, last: str, others: int, tell: Callable[[], None]) -> None:
        super().__init__(inner)
        self._last, self._left, self._tell = last, others, tell
        self._ready = threading.Event()

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        if key.endswith(self._last):
            assert self._ready.wait(60)
        elif key.startswith("data/") and not offset:
            self._left -= 1
            if self._left == 0:
                self._tell()
                self._ready.set()
        return self._inner.get(key, offset=offset, length=length)


def test_after_a_cancel_findings_and_position_are_those_of_the_packs_that_were_read() -> None:
    repository = many_packs()
    names = sorted(repository.ids(DATA))
    for name in names:
        flip_byte(repository, object_key(DATA, name), 0)
    cancel = CancelToken()
    store = WaitingStore(repository.store, names[2], 24, cancel.cancel)
    options = CheckOptions(structure=False, read=EVERYTHING, workers=2)
    check = Check(Repository.open(store, PASSWORD), options, cancel=cancel)
    found = []
    findings = check.findings()

    with pytest.raises(Canceled):
        while True:
            found.append(next(findings))

    assert check.position is not None
    assert check.position.after == names[1]
    assert {f.object_id for f in found if f.code == "pack-content"} >= {*names[:2], names[3]}


def test_a_position_of_another_repository_is_refused(repository: Repository) -> None:
    with pytest.raises(BadRequest):
        checked(repository, position=Position("ab" * 32, ""))


@pytest.mark.parametrize(
    "value", [None, [], {}, {"repository": "x"}, {"repository": "x", "after": "../up"}, {"repository": "x", "after": 5}]
)
def test_a_stored_position_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(BadRequest):
        Position.from_json(value)


@given(st.lists(st.binary(min_size=32, max_size=32), unique=True, max_size=40), st.integers(1, 256), st.data())
def test_parts_never_overlap(packs: list[bytes], parts: int, data: st.DataObject) -> None:
    one = data.draw(st.integers(1, parts))
    other = data.draw(st.integers(1, parts))
    sized = [(pack, 1) for pack in packs]
    if one != other:
        assert not set(Subset(one, parts).choose(sized, "")) & set(Subset(other, parts).choose(sized, ""))

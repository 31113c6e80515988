"""What snapshots need is found completely, by one process or several, and never guessed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backups.engine import usage
from backups.engine.blob import BlobType
from backups.engine.errors import BlobMissing, Canceled, Corrupt
from backups.engine.layout import DATA, SNAPSHOTS, object_key
from backups.engine.ports import CancelToken
from backups.engine.repository import Repository
from backups.engine.tree import EMPTY_TREE
from backups.engine.usage import Usage, find_used, used_by_snapshots
from backups.engine.watch import Watch
from destinations.storage.base import ObjectInfo
from destinations.storage.errors import ObjectMissing
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import Folder, Writer, local, new_repository, noise, reopened


def wide_folder(count: int) -> Folder:
    return {f"d{n}": {f"e{n}": {"file": noise(n, 40)}, "same": {"x": b"x"}} for n in range(count)}


def used_ids(found: Usage) -> set[tuple[BlobType, bytes]]:
    return {found.table.key(number) for number in found.numbers()}


def every_id(repository: Repository) -> set[tuple[BlobType, bytes]]:
    return {(kind, blob_id) for kind, blob_id, _ in repository.index.items()}


def test_all_blobs_of_the_only_snapshot_are_needed() -> None:
    repository = new_repository(MemoryStore())
    Writer(repository).snapshot({"a": noise(1), "empty": b"", "d": {"b": [noise(2), noise(3)]}})
    assert used_ids(used_by_snapshots(repository)) == every_id(repository)


def test_what_only_a_forgotten_snapshot_needs_is_not_needed() -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    first = writer.snapshot({"a": noise(1), "kept": noise(9)})
    writer.snapshot({"a": noise(2), "kept": noise(9)})
    everything = used_ids(used_by_snapshots(repository))
    rest = used_ids(used_by_snapshots(repository, forgotten=[first]))
    assert everything == every_id(repository)
    assert len(everything - rest) == 2


def test_the_same_bytes_as_data_do_not_make_a_tree_needed() -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    writer.tree({})
    writer.snapshot({"looks like a tree": EMPTY_TREE})
    found = used_by_snapshots(repository)
    name = next(blob_id for kind, blob_id, _ in repository.index.items() if kind == BlobType.DATA)
    assert found.is_used(BlobType.DATA, name)
    assert not found.is_used(BlobType.TREE, name)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("forked", [True, False])
def test_helpers_find_what_one_process_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, forked: bool
) -> None:
    monkeypatch.setattr(usage, "_FIRST_TREES", 3)
    monkeypatch.setattr(usage, "_BATCH", 4)
    monkeypatch.setattr(usage, "_MAX_BATCH", 16)
    repository = new_repository(local(tmp_path) if forked else MemoryStore())
    writer = Writer(repository)
    writer.snapshot(wide_folder(60))
    needed = every_id(repository)
    writer.tree({"nobody": {"needs": noise(1000)}})
    writer.flush()
    assert used_ids(used_by_snapshots(repository, workers=workers)) == needed


def test_a_damaged_tree_found_by_a_helper_stops_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_FIRST_TREES", 1)
    monkeypatch.setattr(usage, "_BATCH", 2)
    repository = new_repository(local(tmp_path))
    writer = Writer(repository)
    missing = writer.blob(BlobType.TREE, b'{"nodes":[{"name":"x","type":"file","content":["%b"]}]}\n' % (b"0" * 64))
    folder = {f"d{n}": {"f": noise(n, 40)} for n in range(20)}
    tree = writer.tree(folder)
    writer.flush()
    with pytest.raises(BlobMissing, match="0" * 64):
        find_used(repository, [bytes.fromhex(tree), missing], workers=2)


@pytest.mark.parametrize(
    "tree",
    [
        b"not json",
        b'{"nodes":null}',
        b'{"nodes":[{"name":"a"}]}',
        b'{"nodes":[{"name":"a","type":"file","content":["zz"]}]}',
        b'{"nodes":[{"name":"a","type":"dir","subtree":"abcd"}]}',
        b'{"nodes":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"nodes":[' + b'{"type":""},' * 1_500_000 + b'{"type":""}]}',
    ],
)
def test_a_tree_that_is_none_is_reported_with_its_id(tree: bytes) -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    name = writer.blob(BlobType.TREE, tree)
    writer.flush()
    with pytest.raises(Corrupt) as raised:
        find_used(repository, [name])
    assert raised.value.object_id == name.hex()


def test_a_snapshot_that_cannot_be_read_stops_the_walk() -> None:
    store = MemoryStore()
    repository = new_repository(store)
    writer = Writer(repository)
    writer.snapshot({"a": b"a"})
    broken = writer.snapshot({"b": b"b"})
    store.put(object_key(SNAPSHOTS, broken), b"garbage")
    with pytest.raises(Corrupt, match=broken):
        used_by_snapshots(repository)


def test_a_snapshot_that_is_listed_but_gone_stops_the_walk() -> None:
    class Ghost(MemoryStore):
        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            ghosts = [ObjectInfo(object_key(SNAPSHOTS, "a" * 64), 10)] if prefix == SNAPSHOTS else []
            return iter([*super().list(prefix), *ghosts])

    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))
    Writer(repository).snapshot({"a": b"a"})
    repository.store = Ghost(objects)
    with pytest.raises(ObjectMissing):
        used_by_snapshots(repository)


def test_a_tree_pack_that_vanished_stops_the_walk() -> None:
    store = MemoryStore()
    repository = new_repository(store)
    writer = Writer(repository)
    tree = writer.tree({"a": b"a"})
    for name in writer.flush():
        store.delete(object_key(DATA, name))
    with pytest.raises(Corrupt):
        find_used(reopened(repository), [bytes.fromhex(tree)])


def test_a_cancelled_walk_stops() -> None:
    repository = new_repository(MemoryStore())
    Writer(repository).snapshot({"a": b"a"})
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Canceled):
        used_by_snapshots(repository, watch=Watch(cancel=cancel))

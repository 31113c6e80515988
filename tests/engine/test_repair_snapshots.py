"""Snapshots lose exactly what is lost, and are whole for everybody afterwards."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from backups.engine.blob import BlobType
from backups.engine.edit import save_snapshot, tag_snapshots
from backups.engine.index_file import encode_index
from backups.engine.layout import DATA, INDEX, SNAPSHOTS
from backups.engine.repair_index import repair_index
from backups.engine.repair_snapshots import repair_snapshots
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot
from backups.engine.tree import EMPTY_TREE, decode_tree, encode_node, encode_tree
from destinations.storage.errors import StoreUnreachable
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import TIME, Writer, contents, new_repository, noise, on_disk, read_folder, reopened
from tests.fakes.faulty_store import Died, DyingStore, FailingStore
from tests.peers import PASSWORD, Restic

LONG = [noise(20), noise(21), noise(22)]


def make(objects: dict[str, bytes]) -> Repository:
    """Two snapshots, every blob in a pack of its own."""
    repository = new_repository(MemoryStore(objects))
    writer = Writer(repository, pack_blobs=1)
    writer.snapshot({"a": noise(1), "long": LONG, "d": {"e": {"deep": noise(2)}, "f": noise(3)}}, time=TIME)
    writer.snapshot({"a": noise(1), "other": {"g": noise(4)}}, time="2024-02-02T00:00:00Z", tags=["t"])
    return repository


def lose(repository: Repository, *ids: bytes) -> Repository:
    """Remove the packs of blobs, repair the index, and open again."""
    for blob_id in ids:
        for kind in BlobType:
            for place in repository.index.find_all(kind, blob_id):
                repository.remove_object(DATA, repository.index.packs[place.pack].hex())
    repair_index(repository)
    return reopened(repository)


def tree_of(repository: Repository, path: str) -> bytes:
    tree = repository.snapshots()[0].tree
    for part in filter(None, path.split("/")):
        (tree,) = [
            node.subtree for node in decode_tree(repository.load_tree(tree)) if node.name == part and node.subtree
        ]
    return bytes.fromhex(tree)


def blob(content: bytes) -> bytes:
    return sha256(content).digest()


def test_a_file_loses_the_missing_part_and_gets_its_new_size() -> None:
    repository = lose(make({}), blob(LONG[1]))
    result = repair_snapshots(repository, repository.snapshots(), forget=True)
    assert [(change.path, "1 parts" in change.what) for change in result.changes] == [("/long", True)]
    ((old, new),) = result.repaired
    assert (new.original, new.tags) == (old.id, [])
    found = read_folder(reopened(repository), new.tree)
    assert found["long"] == LONG[0] + LONG[2]
    (node,) = [node for node in decode_tree(repository.load_tree(new.tree)) if node.name == "long"]
    assert node.size == len(LONG[0]) + len(LONG[2])
    assert repository.ids(SNAPSHOTS).keys() == {s.id for s in repository.snapshots()} >= {new.id}
    assert old.id not in repository.ids(SNAPSHOTS)


def test_an_unreadable_folder_becomes_empty_and_the_rest_stays() -> None:
    whole = make({})
    before = contents(whole)[TIME]
    repository = lose(whole, tree_of(whole, "d/e"))
    result = repair_snapshots(repository, repository.snapshots())
    assert [change.path for change in result.changes] == ["/d/e"]
    ((_, new),) = result.repaired
    found = read_folder(repository, new.tree)
    assert found == {**before, "d": {"e": {}, "f": noise(3)}}


def test_two_lost_folders_share_one_empty_tree() -> None:
    whole = make({})
    before = contents(whole)
    repository = lose(whole, tree_of(whole, "d/e"), sha256(whole.load_tree(_other_tree(whole))).digest())
    repair_snapshots(repository, repository.snapshots(), forget=True)
    again = reopened(repository)
    assert len(list(again.index.find_all(BlobType.TREE, sha256(EMPTY_TREE).digest()))) == 1
    assert [len(found) for found in contents(again).values()] == [len(found) for found in before.values()]


def _other_tree(repository: Repository) -> str:
    nodes = decode_tree(repository.load_tree(repository.snapshots()[1].tree))
    return next(node.subtree for node in nodes if node.subtree)


def test_the_repaired_snapshot_names_the_one_it_replaces_even_if_that_was_tagged_before() -> None:
    repository = make({})
    tag_snapshots(repository, repository.snapshots(), add=["x"])
    repository = lose(repository, blob(noise(4)))
    ((old, new),) = repair_snapshots(repository, repository.snapshots()).repaired
    assert old.original not in (None, old.id)
    assert new.original == old.id


def test_without_forget_the_old_snapshot_stays_and_the_new_one_is_tagged() -> None:
    repository = lose(make({}), blob(noise(4)))
    result = repair_snapshots(repository, repository.snapshots())
    ((old, new),) = result.repaired
    assert {old.id, new.id} <= repository.ids(SNAPSHOTS).keys()
    assert new.tags == ["t", "repaired"]
    assert result.removed == []


def test_a_lost_root_is_reported_and_removed_only_with_forget() -> None:
    whole = make({})
    lost = whole.snapshots()[0]
    repository = lose(whole, tree_of(whole, ""))
    result = repair_snapshots(repository, repository.snapshots())
    assert [snapshot.id for snapshot in result.lost] == [lost.id]
    assert lost.id in repository.ids(SNAPSHOTS)
    assert repair_snapshots(repository, repository.snapshots(), forget=True).removed == [lost.id]
    assert lost.id not in repository.ids(SNAPSHOTS)


def test_whole_snapshots_are_left_alone() -> None:
    objects: dict[str, bytes] = {}
    repository = make(objects)
    before = objects.copy()
    result = repair_snapshots(repository, repository.snapshots(), forget=True)
    assert (result.repaired, result.lost, result.changes) == ([], [], [])
    assert objects == before


def test_a_dry_run_names_the_changes_and_writes_nothing() -> None:
    objects: dict[str, bytes] = {}
    repository = lose(make(objects), blob(LONG[1]), blob(noise(4)))
    before = objects.copy()
    planned = repair_snapshots(repository, repository.snapshots(), forget=True, dry_run=True)
    assert objects == before
    done = repair_snapshots(repository, repository.snapshots(), forget=True)
    assert planned.changes == done.changes
    assert [new.tree for _, new in planned.repaired] == [new.tree for _, new in done.repaired]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"type": "irregular"}, "unknown type"),
        ({"type": ""}, "unknown type"),
        ({"name": ".."}, "impossible name"),
        ({"name": "x/y"}, "impossible name"),
        ({"content": None}, "size"),
        ({"size": 7}, "size"),
        ({"type": "dir", "content": None, "subtree": None}, "cannot be read"),
        ({"type": "dir", "content": None, "subtree": "f" * 64}, "cannot be read"),
    ],
)
def test_nodes_that_no_program_accepts_are_put_right(change: dict[str, object], what: str) -> None:
    repository = make({})
    root = repository.snapshots()[0]
    nodes = decode_tree(repository.load_tree(root.tree))
    for key, value in change.items():
        setattr(nodes[0], key, value)
    writer = Writer(repository)
    bad = writer.blob(BlobType.TREE, encode_tree([encode_node(node) for node in nodes]))
    writer.flush()
    snapshot = save_snapshot(repository, Snapshot(time=TIME, tree=bad.hex()))
    result = repair_snapshots(repository, [snapshot])
    assert what in " ".join(found.what for found in result.changes)
    ((_, new),) = result.repaired
    repaired = decode_tree(repository.load_tree(new.tree))
    assert all(node.type in ("file", "dir") for node in repaired)
    assert repair_snapshots(repository, [new]).repaired == []
    read_folder(repository, new.tree)


def test_a_broken_connection_is_not_taken_for_damage() -> None:
    objects: dict[str, bytes] = {}
    repository = make(objects)
    snapshots = repository.snapshots()
    broken = reopened(repository)
    broken.store = FailingStore(MemoryStore(objects), verbs={"get"}, at={3})
    with pytest.raises(StoreUnreachable):
        repair_snapshots(broken, snapshots, forget=True)
    assert {s.id for s in snapshots} == repository.ids(SNAPSHOTS).keys()


def test_killed_anywhere_every_snapshot_is_there_old_or_new() -> None:
    origin: dict[str, bytes] = {}
    lose(make(origin), blob(LONG[1]), blob(noise(4)))
    names = Repository.open(MemoryStore(origin), PASSWORD).ids(SNAPSHOTS).keys()
    at = 0
    while True:
        at += 1
        objects = origin.copy()
        store = DyingStore(MemoryStore(objects), at, verbs={"put", "delete", "stat"})
        try:
            repository = Repository.open(store, PASSWORD)
            repository.load_index()
            repair_snapshots(repository, repository.snapshots(), forget=True)
        except Died:
            pass
        else:
            break
        again = reopened(Repository.open(MemoryStore(objects), PASSWORD))
        assert {s.original or s.id for s in again.snapshots()} == set(names)
        repair_snapshots(again, again.snapshots(), forget=True)
        contents(reopened(again))
    assert at > 6


def test_shared_and_deep_folders_are_mended_once() -> None:
    repository = make({})
    writer = Writer(repository)
    tree = writer.tree({"gone": noise(66), "stays": noise(67)})
    for _ in range(1500):
        tree = writer.above(tree, "a", "b")
    writer.flush()
    save_snapshot(repository, Snapshot(time=TIME, tree=tree))
    index = [
        (name, [entry for entry in repository.read_header(name, size) if entry.id != blob(noise(66))])
        for name, size in repository.ids(DATA).items()
    ]
    for name in repository.ids(INDEX):
        repository.remove_object(INDEX, name)
    repository.save_object(INDEX, encode_index((name, entries) for name, entries in index if entries))
    damaged = reopened(repository)
    (snapshot,) = [found for found in damaged.snapshots() if found.tree == tree]
    result = repair_snapshots(damaged, [snapshot])
    assert len(result.changes) == 1
    below = result.repaired[0][1].tree
    for _ in range(1500):
        one, two = decode_tree(damaged.load_tree(below))
        assert one.subtree == two.subtree
        below = one.subtree or ""
    assert [node.size for node in decode_tree(damaged.load_tree(below))] == [0, 2000]


def test_stock_is_content_and_repairs_alike(tmp_path: Path, newest_restic: Restic) -> None:
    objects: dict[str, bytes] = {}
    whole = make(objects)
    repository = lose(whole, blob(LONG[1]), tree_of(whole, "d/e"))
    damaged = on_disk(objects, tmp_path / "theirs")
    newest_restic.run(damaged, "repair", "snapshots", "--forget")
    repair_snapshots(repository, repository.snapshots(), forget=True)
    ours = on_disk(objects, tmp_path / "ours")
    newest_restic.run(ours, "check", "--read-data")

    def trees(path: Path) -> list[str]:
        return sorted(snapshot["tree"] for snapshot in newest_restic.json(path, "snapshots"))

    assert trees(ours) == trees(damaged)


def test_fields_we_do_not_know_do_not_stop_a_repair() -> None:
    repository = make({})
    root = json.loads(repository.load_tree(repository.snapshots()[0].tree))
    root["nodes"][0] |= {"new field": 1, "size": 3}
    writer = Writer(repository)
    bad = writer.blob(BlobType.TREE, json.dumps(root, separators=(",", ":")).encode() + b"\n")
    writer.flush()
    snapshot = msgspec.structs.replace(repository.snapshots()[0], tree=bad.hex())
    assert len(repair_snapshots(repository, [snapshot]).repaired) == 1

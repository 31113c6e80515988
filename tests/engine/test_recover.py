"""Trees nothing refers to come back in one snapshot."""

from __future__ import annotations

from pathlib import Path

from backups.engine.blob import BlobType
from backups.engine.layout import DATA, SNAPSHOTS
from backups.engine.ports import Silent
from backups.engine.recover import recover
from backups.engine.repository import Repository
from backups.engine.watch import Watch
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import Writer, new_repository, noise, on_disk, read_folder, reopened
from tests.fakes.faulty_store import Died, DyingStore
from tests.peers import PASSWORD, Restic


def make(objects: dict[str, bytes]) -> tuple[Repository, list[str]]:
    """Three snapshots, of which one is forgotten; return the repository and their trees."""
    repository = new_repository(MemoryStore(objects))
    writer = Writer(repository)
    folders = [{"a": noise(n), "d": {"deep": {"x": noise(10 + n)}, "same": b"s"}} for n in range(3)]
    names = [writer.snapshot(folder, time=f"2024-01-0{n + 1}T00:00:00Z") for n, folder in enumerate(folders)]
    trees = [snapshot.tree for snapshot in repository.snapshots()]
    repository.remove_object(SNAPSHOTS, names[1])
    return repository, trees


def test_the_tree_of_a_lost_snapshot_comes_back() -> None:
    repository, trees = make({})
    expected = read_folder(repository, trees[1])
    found = recover(repository)
    assert found is not None
    assert (found.paths, found.tags) == (["/recover"], ["recovered"])
    again = reopened(repository)
    assert found.id in {snapshot.id for snapshot in again.snapshots()}
    assert read_folder(again, found.tree) == {trees[1][:8]: expected}


def test_nothing_lost_is_nothing_stored() -> None:
    objects: dict[str, bytes] = {}
    repository, _ = make(objects)
    recover(repository)
    before = objects.copy()
    assert recover(reopened(repository)) is None
    assert objects == before


def test_an_unreadable_tree_is_reported_and_its_folders_come_back() -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository, pack_blobs=1)
    writer.snapshot({"d": {"x": noise(1)}})
    (snapshot,) = repository.snapshots()
    place = repository.index.find(BlobType.TREE, bytes.fromhex(snapshot.tree))
    assert place is not None
    repository.remove_object(DATA, repository.index.packs[place.pack].hex())
    repository.remove_object(SNAPSHOTS, snapshot.id)
    progress = Silent()
    found = recover(reopened(repository), watch=Watch(progress))
    assert found is not None
    assert list(read_folder(reopened(repository), found.tree).values()) == [{"x": noise(1)}]
    assert [path for path, _ in progress.problems] == [f"tree {snapshot.tree}"]


def holds(folder: object, expected: object) -> bool:
    """Whether a folder is, or has somewhere below it, the expected one."""
    return folder == expected or (isinstance(folder, dict) and any(holds(f, expected) for f in folder.values()))


def test_killed_anywhere_the_next_one_finishes() -> None:
    at = 0
    while True:
        at += 1
        objects: dict[str, bytes] = {}
        repository, trees = make(objects)
        expected = read_folder(repository, trees[1])
        repository.store = DyingStore(MemoryStore(objects), at, verbs={"put", "stat", "list"})
        try:
            recover(repository)
        except Died:
            pass
        else:
            break
        again = reopened(Repository.open(MemoryStore(objects), PASSWORD))
        found = recover(again) or next(s for s in again.snapshots() if s.paths == ["/recover"])
        assert holds(read_folder(reopened(again), found.tree), expected)
    assert at > 3


def test_stock_restores_what_came_back(tmp_path: Path, newest_restic: Restic) -> None:
    objects: dict[str, bytes] = {}
    repository, trees = make(objects)
    found = recover(repository)
    assert found is not None
    path = on_disk(objects, tmp_path / "repository")
    newest_restic.run(path, "check", "--read-data")
    newest_restic.run(path, "restore", found.id, "--target", tmp_path / "out")
    assert (tmp_path / "out" / trees[1][:8] / "d" / "deep" / "x").read_bytes() == noise(11)
    assert "found 0 unreferenced roots" in newest_restic.run(path, "recover").stdout

"""Changing tags keeps the snapshot, its origin and its data, at any instant."""

from __future__ import annotations

from pathlib import Path

import pytest

from backups.engine.edit import tag_snapshots
from backups.engine.errors import Corrupt
from backups.engine.layout import SNAPSHOTS
from backups.engine.repository import Repository
from destinations.storage.errors import ObjectMissing
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import Writer, local, new_repository, on_disk, reopened
from tests.fakes.faulty_store import Died, DyingStore, LyingStore, TruncatingStore
from tests.peers import PASSWORD, Restic


def make(objects: dict[str, bytes]) -> tuple[Repository, str]:
    repository = new_repository(MemoryStore(objects))
    return repository, Writer(repository).snapshot({"a": b"a"}, tags=["one", "two", "three"])


def test_a_changed_snapshot_takes_the_place_of_the_old_one_and_names_its_origin() -> None:
    repository, name = make({})
    ((before, after),) = tag_snapshots(repository, repository.snapshots(), add=["four"], remove=["one"])
    (found,) = repository.snapshots()
    assert (before.id, found.id, found.original) == (name, after.id, name)
    assert found.tags == ["four", "two", "three"]
    assert found.tree == before.tree
    tag_snapshots(repository, repository.snapshots(), set_to=["new"])
    (found,) = repository.snapshots()
    assert (found.tags, found.original) == (["new"], name)


def test_nothing_is_written_when_nothing_changes() -> None:
    objects: dict[str, bytes] = {}
    repository, _ = make(objects)
    before = objects.copy()
    assert tag_snapshots(repository, repository.snapshots(), add=["one"], remove=["unknown"]) == []
    assert objects == before


@pytest.mark.parametrize("after", [False, True])
def test_killed_anywhere_at_least_one_of_both_is_there(after: bool) -> None:
    for at in range(1, 6):
        objects: dict[str, bytes] = {}
        repository, name = make(objects)
        store = DyingStore(MemoryStore(objects), at, after=after, verbs={"put", "delete", "get"})
        snapshots = repository.snapshots()
        repository.store = store
        try:
            tag_snapshots(repository, snapshots, add=["four"])
        except Died:
            found = Repository.open(MemoryStore(objects), PASSWORD).snapshots()
            assert {snapshot.original or snapshot.id for snapshot in found} == {name}


@pytest.mark.parametrize("lie", [LyingStore, TruncatingStore])
def test_the_old_snapshot_stays_if_the_new_one_was_not_stored(lie: type[LyingStore]) -> None:
    objects: dict[str, bytes] = {}
    repository, name = make(objects)
    snapshots = repository.snapshots()
    repository.store = lie(MemoryStore(objects), at={1})
    with pytest.raises((Corrupt, ObjectMissing)):
        tag_snapshots(repository, snapshots, add=["four"])
    assert name in Repository.open(MemoryStore(objects), PASSWORD).ids(SNAPSHOTS)


def test_both_programs_change_tags_alike(tmp_path: Path, restic: Restic) -> None:
    found = []
    for ours in (True, False):
        objects: dict[str, bytes] = {}
        name = make(objects)[1]
        path = on_disk(objects, tmp_path / f"{ours}")
        if ours:
            repository = Repository.open(local(path), PASSWORD)
            tag_snapshots(repository, repository.snapshots(), add=["four", "one"])
            tag_snapshots(repository, repository.snapshots(), remove=["two", "none"])
        else:
            restic.run(path, "tag", "--add", "four", "--add", "one")
            restic.run(path, "tag", "--remove", "two", "--remove", "none")
        restic.run(path, "check", "--read-data")
        (snapshot,) = restic.json(path, "snapshots")
        assert snapshot["original"] == name
        found.append(snapshot["tags"])
    assert found == [["one", "four", "three"]] * 2


def test_the_open_repository_lists_the_change(tmp_path: Path) -> None:
    repository, _ = make({})
    tag_snapshots(repository, repository.snapshots(), set_to=[""])
    assert [snapshot.tags for snapshot in reopened(repository).snapshots()] == [[]]

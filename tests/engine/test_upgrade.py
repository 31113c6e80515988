"""Version 1 becomes version 2 without touching data, and being killed on the way loses nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backups.engine.errors import BadRequest, BlobMissing, Corrupt
from backups.engine.layout import CONFIG, DATA, INDEX, SPARE_CONFIG
from backups.engine.prune import prune
from backups.engine.prune_plan import PruneOptions
from backups.engine.repository import Repository
from backups.engine.upgrade import upgrade
from destinations.storage.base import Capabilities
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import Writer, assert_whole, contents, new_repository, noise, on_disk, reopened
from tests.fakes.faulty_store import Died, DyingStore, TruncatingStore
from tests.peers import PASSWORD, Restic


class Rigid(MemoryStore):
    """Cannot replace an object in one step."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, overwrite=False)


def make(objects: dict[str, bytes]) -> Repository:
    repository = new_repository(MemoryStore(objects), version=1)
    Writer(repository).snapshot({"a": noise(1), "d": {"text": b"text " * 1000}})
    return repository


@pytest.mark.parametrize("kind", [MemoryStore, Rigid])
def test_only_the_config_changes_and_new_objects_are_compressed(kind: type[MemoryStore]) -> None:
    objects: dict[str, bytes] = {}
    before = contents(make(objects))
    old = objects.copy()
    repository = reopened(Repository.open(kind(objects), PASSWORD))
    upgrade(repository)
    assert {key for key in objects if objects[key] != old.get(key)} == {CONFIG}
    assert objects.keys() == old.keys()
    again = reopened(repository)
    assert (again.version, repository.version, again.id) == (2, 2, repository.id)
    assert contents(again) == before
    prune(again, PruneOptions(repack_uncompressed=True))
    assert all(place.plain_size for kind, _, place in again.index.items() if kind)
    assert contents(reopened(again)) == before


def test_version_2_is_refused() -> None:
    with pytest.raises(BadRequest):
        upgrade(new_repository(MemoryStore()))


@pytest.mark.parametrize("kind", [DATA, INDEX])
def test_a_damaged_repository_is_not_upgraded(kind: str) -> None:
    objects: dict[str, bytes] = {}
    make(objects)
    del objects[next(key for key in objects if key.startswith(kind))]
    before = objects.copy()
    with pytest.raises((Corrupt, BlobMissing)):
        upgrade(reopened(Repository.open(MemoryStore(objects), PASSWORD)))
    assert objects == before


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", [MemoryStore, Rigid])
def test_killed_anywhere_the_repository_opens_and_the_next_upgrade_finishes(
    kind: type[MemoryStore], after: bool
) -> None:
    died = 0
    for at in range(1, 10):
        objects: dict[str, bytes] = {}
        before = contents(make(objects))
        repository = reopened(Repository.open(kind(objects), PASSWORD))
        repository.store = DyingStore(kind(objects), at, after=after, verbs={"put", "delete"})
        try:
            upgrade(repository)
        except Died:
            died += 1
        again = reopened(Repository.open(kind(objects), PASSWORD))
        assert contents(again) == before
        if again.version == 1 or SPARE_CONFIG in objects:
            upgrade(again)
        assert CONFIG in objects
        assert SPARE_CONFIG not in objects
        assert Repository.open(kind(objects), PASSWORD).version == 2
    assert died >= (4 if kind is Rigid else 1)


def test_a_storage_that_cuts_the_spare_config_leaves_the_old_one() -> None:
    objects: dict[str, bytes] = {}
    make(objects)
    old = objects[CONFIG]
    repository = reopened(Repository.open(Rigid(objects), PASSWORD))
    repository.store = TruncatingStore(Rigid(objects), at={1})
    with pytest.raises(Corrupt):
        upgrade(repository)
    assert objects[CONFIG] == old
    assert repository.version == 1


def test_stock_accepts_the_upgraded_repository(tmp_path: Path, restic: Restic) -> None:
    objects: dict[str, bytes] = {}
    repository = make(objects)
    upgrade(repository)
    path = on_disk(objects, tmp_path / "repository")
    assert restic.json(path, "cat", "config")["version"] == 2
    (tmp_path / "source").write_text("more text " * 1000)
    restic.run(path, "backup", tmp_path / "source")
    restic.run(path, "check", "--read-data")
    again = reopened(repository)
    assert_whole(again)

"""Forget removes what the policy lets go, tells why the rest stays, and survives being killed anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from backups.engine.errors import BadRequest
from backups.engine.forget import forget, remove_snapshots
from backups.engine.layout import SNAPSHOTS, object_key
from backups.engine.ports import Silent
from backups.engine.prune import prune
from backups.engine.repository import Repository
from backups.engine.retention import Policy
from backups.engine.snapshot import SnapshotFilter
from backups.engine.watch import Watch
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import Writer, assert_whole, contents, new_repository, noise, on_disk, reopened
from tests.fakes.faulty_store import Died, DyingStore, FailingStore
from tests.peers import PASSWORD, Restic

NOW = 1_800_000_000_000_000_000


def make(objects: dict[str, bytes]) -> tuple[Repository, list[str]]:
    """Four snapshots of one folder on four days, and one of another folder."""
    repository = new_repository(MemoryStore(objects))
    writer = Writer(repository)
    names = [
        writer.snapshot({"a": noise(n), "same": noise(99)}, time=f"2024-01-0{n + 1}T10:00:00Z", tags=[f"t{n}"])
        for n in range(4)
    ]
    names.append(writer.snapshot({"b": noise(50)}, time="2023-01-01T10:00:00Z", path="/other"))
    return repository, names


def test_the_policy_works_by_group_and_names_its_reasons() -> None:
    repository, names = make({})
    result = forget(repository, Policy(last=1, tags=[["t1"]]), now=NOW)
    assert set(result.removed) == {names[0], names[2]}
    assert repository.ids(SNAPSHOTS).keys() == {names[1], names[3], names[4]}
    reasons = {d.snapshot.id: d.reasons for group in result.groups for d in group.keep}
    assert reasons == {names[1]: ("has tags [t1]",), names[3]: ("last snapshot",), names[4]: ("last snapshot",)}


def test_the_filter_leaves_other_snapshots_alone() -> None:
    repository, names = make({})
    result = forget(repository, Policy(last=1), matching=SnapshotFilter(paths=["/other"]), now=NOW)
    assert result.removed == []
    assert repository.ids(SNAPSHOTS).keys() == set(names)


def test_without_grouping_the_older_folder_goes_too() -> None:
    repository, names = make({})
    assert set(forget(repository, Policy(last=1), grouping="", now=NOW).removed) == {*names[:3], names[4]}


def test_a_dry_run_removes_nothing_and_says_the_same() -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(objects)
    before = objects.copy()
    assert set(forget(repository, Policy(last=1), now=NOW, dry_run=True).removed) == set(names[:3])
    assert set(remove_snapshots(repository, names[:2], dry_run=True).removed) == set(names[:2])
    assert objects == before


def test_an_empty_policy_removes_nothing() -> None:
    repository, names = make({})
    assert forget(repository, Policy(), now=NOW).removed == []
    assert repository.ids(SNAPSHOTS).keys() == set(names)


def test_a_policy_that_would_empty_one_group_removes_nothing_of_any() -> None:
    repository, names = make({})
    with pytest.raises(BadRequest):
        forget(repository, Policy(tags=[["t1"]]), now=NOW)
    assert repository.ids(SNAPSHOTS).keys() == set(names)


def test_named_snapshots_go_even_unreadable_ones() -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(objects)
    objects[object_key(SNAPSHOTS, names[0])] = b"garbage"
    assert remove_snapshots(repository, [names[0], names[0]]).removed == [names[0]]
    assert names[0] not in repository.ids(SNAPSHOTS)


def test_an_unreadable_snapshot_stays_and_is_reported() -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(objects)
    objects[object_key(SNAPSHOTS, names[0])] = b"garbage"
    progress = Silent()
    removed = forget(repository, Policy(last=1), now=NOW, watch=Watch(progress)).removed
    assert set(removed) == set(names[1:3])
    assert names[0] in repository.ids(SNAPSHOTS)
    assert [path for path, _ in progress.problems] == [f"snapshots/{names[0]}"]


def test_what_the_storage_did_not_remove_is_not_called_removed() -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(objects)
    failing = FailingStore(MemoryStore(objects), verbs={"delete"}, at={1})
    result = remove_snapshots(reopened(repository, failing), names[:3])
    assert len(result.left_behind) == 1
    assert set(result.removed) == set(names[:3]) - set(result.left_behind)


def test_killed_anywhere_in_forget_and_prune_the_kept_snapshots_read_back() -> None:
    origin: dict[str, bytes] = {}
    make(origin)
    kept = {"2024-01-04T10:00:00Z", "2023-01-01T10:00:00Z"}
    at = 0
    while True:
        at += 1
        objects = origin.copy()
        store = DyingStore(MemoryStore(objects), at)
        try:
            repository = Repository.open(store, PASSWORD)
            repository.load_index()
            result = forget(repository, Policy(last=1), now=NOW)
            prune(repository, forgotten=result.removed)
        except Died:
            pass
        else:
            break
        again = reopened(Repository.open(MemoryStore(objects), PASSWORD))
        assert kept <= contents(again).keys()
        assert_whole(again)
        forget(again, Policy(last=1), now=NOW)
        prune(again)
        assert contents(reopened(again)).keys() == kept
    assert at > 15


def test_stock_agrees_with_what_is_left(tmp_path: Path, newest_restic: Restic) -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(objects)
    forget(repository, Policy(last=2), now=NOW)
    path = on_disk(objects, tmp_path / "repository")
    newest_restic.run(path, "check", "--read-data")
    listed = newest_restic.json(path, "snapshots")
    assert {entry["id"] for entry in listed} == set(names[2:])
    groups = newest_restic.json(path, "forget", "--dry-run", "--keep-last", "2")
    assert not any(group["remove"] for group in groups)

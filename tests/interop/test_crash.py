"""A killed engine loses nothing that it had announced, and needs nobody to go on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from backups.engine.locks import LockTimes, unlock
from backups.engine.repository import Repository
from backups.sources import FolderSource
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import PASSWORD, assert_whole, on_disk, reopened
from tests.engine.repositories import new_repository as small_repository
from tests.engine.running import contents_below, run_backup
from tests.fakes.faulty_store import Died, DyingStore
from tests.interop.killing import VERBS, Playground, kill_in_the_middle
from tests.interop.ours import new_repository
from tests.peers import Restic


@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_random_instants(tmp_path: Path, newest_restic: Restic, verb: str) -> None:
    play = Playground(new_repository(tmp_path), newest_restic, random.Random(verb))
    play.fill()
    play.backup()
    kill_in_the_middle(play, verb, 4, real_every=4)


def _sources(tmp_path: Path) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Write a source; return what is in it, and what will be."""
    rng = random.Random(5)
    before = {b"source/%d" % n: rng.randbytes(600) for n in range(5)} | {b"source/d/large": rng.randbytes(700_000)}
    for path, data in before.items():
        (tmp_path / path.decode()).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path.decode()).write_bytes(data)
    after = before | {b"source/2": b"changed", b"source/new/file": rng.randbytes(600_000)}
    return before, after


def _dying_backup(objects: dict[str, bytes], at: int, after: bool) -> tuple[bool, str]:
    """Back up through a store that dies at a request; tell whether it died, and the snapshot that was announced."""
    store = DyingStore(MemoryStore(objects), at, after=after)
    try:
        repository = Repository.open(store, PASSWORD)
        with repository.locked(exclusive=False, times=LockTimes(settle=0)):
            repository.load_index()
            parent = repository.snapshots()[-1]
            result = run_backup(repository, FolderSource([b"source"]), parent=parent, time="2024-06-01T00:00:00Z")
            return store.dead, result.snapshot_id
    except Died:
        return True, ""


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_dead_at_any_request_of_a_backup(
    tmp_path: Path, newest_restic: Restic, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    before, changed = _sources(tmp_path)
    whole: dict[str, bytes] = {}
    first = run_backup(small_repository(MemoryStore(whole)), FolderSource([b"source"])).snapshot_id
    for path, data in changed.items():
        (tmp_path / path.decode()).parent.mkdir(exist_ok=True)
        (tmp_path / path.decode()).write_bytes(data)
    left: set[frozenset[str]] = set()
    died, at = True, 0
    while died:
        at += 1
        objects = whole.copy()
        died, announced = _dying_backup(objects, at, after)
        repository = Repository.open(MemoryStore(objects), PASSWORD)
        unlock(repository, remove_all=True)
        repository.load_index()
        trees = {snapshot.id: snapshot.tree for snapshot in repository.snapshots()}
        assert contents_below(repository, trees[first]) == before
        for name in trees.keys() - {first}:
            assert contents_below(repository, trees[name]) == changed
        assert not announced or announced in trees
        kinds = frozenset(key.split("/")[0] + str(len(value)) for key, value in objects.items())
        if kinds not in left:
            left.add(kinds)
            path = on_disk(objects, tmp_path / f"left-{at}-{after}")
            newest_restic.run(path, "check")
        again = run_backup(repository, FolderSource([b"source"]), parent=first)
        assert contents_below(repository, again.tree) == changed
        assert_whole(reopened(repository))
    assert at > 12
    assert len(left) >= 5

"""The cache is a help and never more: what is wrong in it is fetched again, what cannot be written is not missed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from backups.engine.cache import Cache, default_root
from backups.engine.layout import DATA, INDEX, LOCKS, SNAPSHOTS
from backups.engine.repair_packs import repair_packs
from backups.engine.repository import Repository
from backups.sources import FolderSource
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import PASSWORD, Writer, contents, local, new_repository, noise
from tests.engine.running import run_backup
from tests.fakes.faulty_store import CountingStore

ID = "ab" * 32


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", ID)


def stored(data: bytes) -> str:
    return sha256(data).hexdigest()


# ---------------------------------------------------------------------- files


def test_what_is_kept_is_read_back_whole_or_in_part(cache: Cache) -> None:
    cache.write(INDEX, stored(b"content"), b"content")
    assert cache.read(INDEX, stored(b"content")) == b"content"
    assert cache.read(INDEX, stored(b"content"), 2, 3) == b"nte"
    assert cache.read(INDEX, stored(b"content"), 5, 10) is None
    assert cache.read(SNAPSHOTS, stored(b"content")) is None


def test_bytes_that_do_not_match_their_name_are_not_kept(cache: Cache) -> None:
    cache.write(INDEX, ID, b"something else")
    assert cache.read(INDEX, ID) is None
    assert not cache.folder.exists()


def test_only_its_owner_can_read_it(cache: Cache) -> None:
    cache.write(DATA, stored(b"x"), b"x")
    assert cache.folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in cache.folder.rglob("*") if path.is_file())


def test_what_is_gone_from_the_repository_goes_from_the_cache(cache: Cache) -> None:
    names = [stored(b"%d" % n) for n in range(5)]
    for number, name in enumerate(names):
        cache.write(SNAPSHOTS, name, b"%d" % number)
    cache.keep_only(SNAPSHOTS, names[:2])
    assert [cache.read(SNAPSHOTS, name) is not None for name in names] == [True, True, False, False, False]
    cache.remove(SNAPSHOTS, names[0])
    cache.remove(SNAPSHOTS, names[0])
    assert cache.read(SNAPSHOTS, names[0]) is None


def test_what_a_killed_writer_left_goes_after_a_day(cache: Cache) -> None:
    cache.write(DATA, stored(b"x"), b"x")
    (kept,) = [path for path in cache.folder.rglob("*") if path.is_file()]
    for name, age in (("old", 90_000), ("young", 10)):
        left = kept.with_name(f"{kept.name}-tmp-{name}")
        left.write_bytes(b"half")
        os.utime(left, (time.time() - age,) * 2)
    cache.keep_only(DATA, [stored(b"x")])
    assert sorted(path.name for path in kept.parent.iterdir()) == [kept.name, f"{kept.name}-tmp-young"]


def test_packs_that_another_machine_removed_leave_the_cache(objects: dict[str, bytes], tmp_path: Path) -> None:
    mine = Repository.open(MemoryStore(objects), PASSWORD, cache_root=tmp_path)
    mine.load_index()
    contents(mine)
    before = {path.name for path in tmp_path.rglob("data/*/*")}
    assert before
    theirs = Repository.open(MemoryStore(objects), PASSWORD)
    theirs.load_index()
    repair_packs(theirs, sorted(before))
    mine.load_index()
    assert not before & {path.name for path in tmp_path.rglob("data/*/*")}
    contents(mine)


def test_a_cache_that_cannot_be_written_is_silent(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = Cache(tmp_path / "file", ID)
    cache.write(INDEX, stored(b"x"), b"x")
    cache.remove(INDEX, stored(b"x"))
    cache.keep_only(INDEX, [])
    assert cache.read(INDEX, stored(b"x")) is None


def test_it_lies_where_caches_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_root() == Path("/somewhere/holdfast")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/user")
    assert default_root() == Path("/home/user/.cache/holdfast")


# ---------------------------------------------------------------------- a repository with one


def make(objects: dict[str, bytes]) -> None:
    writer = Writer(new_repository(MemoryStore(objects)))
    for number in range(4):
        writer.snapshot({"f": noise(number), "d": {"g": noise(50 + number)}}, time=f"2024-01-0{number + 1}T00:00:00Z")


def opened(objects: dict[str, bytes], root: Path) -> tuple[Repository, CountingStore]:
    store = CountingStore(MemoryStore(objects), {"get"})
    repository = Repository.open(store, PASSWORD, cache_root=root)
    repository.load_index()
    return repository, store


def fetched(store: CountingStore) -> set[str]:
    return {key.split("/")[0] for _, key in store.log}


@pytest.fixture
def objects() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    make(found)
    return found


def test_index_snapshots_and_trees_are_fetched_once(objects: dict[str, bytes], tmp_path: Path) -> None:
    first, store = opened(objects, tmp_path)
    expected = contents(first)
    assert fetched(store) == {"keys", "config", INDEX, SNAPSHOTS, DATA}
    again, store = opened(objects, tmp_path)
    for snapshot in again.snapshots():
        again.load_tree(snapshot.tree)
    assert fetched(store) == {"keys", "config"}
    assert contents(again) == expected


def test_what_another_machine_added_is_seen(objects: dict[str, bytes], tmp_path: Path) -> None:
    opened(objects, tmp_path)
    other = Repository.open(MemoryStore(objects), PASSWORD)
    other.load_index()
    Writer(other).snapshot({"new": noise(99)}, time="2024-02-01T00:00:00Z")
    again, _ = opened(objects, tmp_path)
    assert contents(again).keys() == contents(other).keys()
    assert len(again.index) == len(other.index)


def test_what_another_machine_removed_is_gone(objects: dict[str, bytes], tmp_path: Path) -> None:
    first, _ = opened(objects, tmp_path)
    first.snapshots()
    index_key = next(key for key in objects if key.startswith(INDEX))
    del objects[index_key], objects[next(key for key in objects if key.startswith(SNAPSHOTS))]
    again, _ = opened(objects, tmp_path)
    assert len(again.snapshots()) == 3
    assert len(again.index) < len(first.index)


def _spoiled(root: Path, spoil: str) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.is_file():
            whole = path.read_bytes()
            match spoil:
                case "flipped":
                    path.write_bytes(
                        whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :]
                    )
                case "cut":
                    path.write_bytes(whole[: len(whole) // 2])
                case "emptied":
                    path.write_bytes(b"")
                case "a folder":
                    path.unlink()
                    path.mkdir()
                case "unreadable":
                    path.unlink()
                    path.symlink_to("loop")
            yield path


@pytest.mark.parametrize("spoil", ["flipped", "cut", "emptied", "a folder", "unreadable"])
def test_a_spoiled_cache_changes_no_answer(objects: dict[str, bytes], tmp_path: Path, spoil: str) -> None:
    first, _ = opened(objects, tmp_path)
    expected = contents(first)
    assert len(list(_spoiled(tmp_path, spoil))) > 5
    again, _ = opened(objects, tmp_path)
    assert contents(again) == expected
    assert {place[:2] for place in again.index.items()} == {place[:2] for place in first.index.items()}


def test_a_deleted_cache_is_made_again(objects: dict[str, bytes], tmp_path: Path) -> None:
    expected = contents(opened(objects, tmp_path / "cache")[0])
    shutil.rmtree(tmp_path / "cache")
    assert contents(opened(objects, tmp_path / "cache")[0]) == expected


def test_another_repository_at_the_same_place_has_a_cache_of_its_own(tmp_path: Path) -> None:
    one: dict[str, bytes] = {}
    other: dict[str, bytes] = {}
    make(one)
    make(other)
    assert contents(opened(one, tmp_path)[0]) == contents(opened(other, tmp_path)[0])
    assert len(list(tmp_path.iterdir())) == 2


def test_locks_and_data_packs_are_never_kept(objects: dict[str, bytes], tmp_path: Path) -> None:
    repository, _ = opened(objects, tmp_path)
    with repository.locked(exclusive=False):
        contents(repository)
    kept = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    data_packs = {repository.index.packs[place.pack].hex() for kind, _, place in repository.index.items() if not kind}
    assert kept & repository.ids(DATA).keys()
    assert not kept & data_packs
    assert not list(tmp_path.rglob(LOCKS))


def test_a_local_repository_keeps_only_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "f").write_bytes(b"x")
    repository = new_repository(local(tmp_path / "repository"), cache=tmp_path / "cache")
    run_backup(repository, FolderSource([b"source"]))
    repository = Repository.open(local(tmp_path / "repository"), PASSWORD, cache_root=tmp_path / "cache")
    repository.load_index()
    repository.snapshots()
    names = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert names <= {"index.table"}


def test_two_processes_write_the_same_cache(objects: dict[str, bytes], tmp_path: Path) -> None:
    expected = contents(opened(objects, tmp_path / "other")[0])
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for _ in range(5):
                    assert contents(opened(objects, tmp_path / "cache")[0]) == expected
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert not list((tmp_path / "cache").rglob("*-tmp-*"))

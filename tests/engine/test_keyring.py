"""Keys are added, removed and replaced without a moment in which nobody can open the repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backups.engine.errors import BadRequest, KeyRejected, WrongKey
from backups.engine.keyring import add_key, change_password, list_keys, remove_key
from backups.engine.keys import MAX_KEYS_TRIED
from backups.engine.layout import KEYS, object_key
from backups.engine.repository import Repository
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import QUICK, Writer, local, new_repository, on_disk
from tests.fakes.faulty_store import Died, DyingStore, LyingStore, TruncatingStore
from tests.peers import PASSWORD, Restic

OTHER = "battery staple ✂"


def opens(objects: dict[str, bytes], password: str) -> bool:
    try:
        Repository.open(MemoryStore(objects), password)
    except WrongKey:
        return False
    return True


def test_an_added_key_opens_the_same_repository() -> None:
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))
    name = add_key(repository, OTHER, params=QUICK, username="alice", hostname="server")
    other = Repository.open(MemoryStore(objects), OTHER)
    assert (other.id, other.key_id) == (repository.id, name)
    assert opens(objects, PASSWORD)
    ours, added = sorted(list_keys(repository), key=lambda key: not key.current)
    assert (ours.id, added.id, added.username, added.hostname) == (repository.key_id, name, "alice", "server")
    assert not added.current


def test_a_changed_password_is_the_only_one_that_opens() -> None:
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))
    old = repository.key_id
    new = change_password(repository, OTHER, params=QUICK)
    assert opens(objects, OTHER)
    assert not opens(objects, PASSWORD)
    assert repository.ids(KEYS).keys() == {new}
    assert repository.key_id == new != old


def test_a_key_is_removed_by_the_beginning_of_its_id_but_never_the_one_in_use() -> None:
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))
    name = add_key(repository, OTHER, params=QUICK)
    with pytest.raises(BadRequest, match="opened with"):
        remove_key(repository, repository.key_id[:12])
    with pytest.raises(BadRequest):
        remove_key(repository, "")
    with pytest.raises(BadRequest, match="no key ids"):
        remove_key(repository, "f" * 64)
    assert remove_key(repository, name[:12].upper()) == name
    assert not opens(objects, OTHER)
    assert opens(objects, PASSWORD)


@pytest.mark.parametrize("lie", [LyingStore, TruncatingStore])
@pytest.mark.parametrize("change", [add_key, change_password])
def test_a_key_that_was_not_stored_whole_is_removed_and_the_old_one_stays(
    lie: type[LyingStore], change: Callable[..., str]
) -> None:
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))
    before = objects.copy()
    repository.store = lie(MemoryStore(objects), at={1})
    with pytest.raises(KeyRejected):
        change(repository, OTHER, params=QUICK)
    assert objects == before


@pytest.mark.parametrize("after", [False, True])
def test_killed_anywhere_a_known_password_opens(after: bool) -> None:
    died = 0
    for at in range(1, 12):
        objects: dict[str, bytes] = {}
        repository = new_repository(MemoryStore(objects))
        repository.store = DyingStore(MemoryStore(objects), at, after=after)
        try:
            change_password(repository, OTHER, params=QUICK)
        except Died:
            died += 1
        assert opens(objects, PASSWORD) or opens(objects, OTHER)
        for key in list_keys(Repository.open(MemoryStore(objects), PASSWORD if opens(objects, PASSWORD) else OTHER)):
            assert not key.problem
    assert died >= 4


def test_more_keys_than_programs_try_are_refused() -> None:
    repository = new_repository(MemoryStore())
    for number in range(MAX_KEYS_TRIED - 1):
        add_key(repository, f"password {number}", params=QUICK)
    with pytest.raises(BadRequest):
        add_key(repository, OTHER, params=QUICK)


def test_a_malformed_key_is_listed_with_its_problem() -> None:
    objects: dict[str, bytes] = {object_key(KEYS, "0" * 64): b"{}"}
    fresh: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(fresh))
    fresh |= objects
    bad, good = list_keys(repository)
    assert (bad.id, bool(bad.problem), good.problem) == ("0" * 64, True, "")


def test_a_repository_opened_without_a_key_file_has_none_to_replace() -> None:
    repository = new_repository(MemoryStore())
    twin = Repository.open_with_key(repository.store, repository.key)
    with pytest.raises(BadRequest):
        change_password(twin, OTHER, params=QUICK)


def test_stock_opens_with_our_keys_and_we_with_its(tmp_path: Path, restic: Restic) -> None:
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))
    Writer(repository).snapshot({"a": b"a"})
    add_key(repository, OTHER, params=QUICK)
    path = on_disk(objects, tmp_path / "repository")
    restic.run(path, "check", "--read-data", password=OTHER)
    (tmp_path / "new").write_text("from stock")
    restic.run(path, "key", "passwd", "--new-password-file", tmp_path / "new", password=OTHER)
    by_stock = Repository.open(local(path), "from stock")
    assert {key.current for key in list_keys(by_stock)} == {True, False}
    change_password(by_stock, "ours again", params=QUICK)
    restic.run(path, "check", password="ours again")
    assert restic.run(path, "cat", "config", password="from stock", check=False).returncode != 0


def test_keys_of_a_repository_that_stock_made(
    tmp_path: Path, newest_restic: Restic, restic_repository: Callable[..., Path]
) -> None:
    path = restic_repository(newest_restic)
    repository = Repository.open(local(path), PASSWORD)
    change_password(repository, OTHER, params=QUICK)
    newest_restic.run(path, "check", password=OTHER)

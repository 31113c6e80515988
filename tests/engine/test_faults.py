"""A storage that fails, lies, cuts off, runs full or lists late: no success without the data, and no loss either.

Every verb is run with the fault at each of its requests in turn.  A run that says it succeeded is held to it, as seen
by somebody whose storage works; one that fails does so by name, what was there before reads back, and the same verb
succeeds when the storage works again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings

from backups.engine.edit import tag_snapshots
from backups.engine.errors import EngineError
from backups.engine.forget import remove_snapshots
from backups.engine.keyring import change_password
from backups.engine.prune import prune
from backups.engine.prune_plan import PruneOptions, Unused
from backups.engine.repair_index import repair_index
from backups.engine.repair_packs import repair_packs
from backups.engine.repair_snapshots import repair_snapshots
from backups.engine.repository import Repository
from backups.sources import FolderSource
from destinations.storage.base import ObjectStore
from destinations.storage.errors import StoreError
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import PASSWORD, QUICK, assert_whole, new_repository, noise
from tests.engine.restoring import files_below, restore_to
from tests.engine.running import contents_below, run_backup
from tests.fakes.faulty_store import (
    CorruptingStore,
    CutStore,
    FailingStore,
    FullStore,
    LaggyStore,
    LyingStore,
    TruncatingStore,
)

Objects = dict[str, bytes]
BEFORE = {b"source/a": noise(1, 900), b"source/d/b": noise(2, 700), b"source/d/same": b"text " * 90}
NOW = {b"source/a": noise(1, 900), b"source/d/new": noise(3, 800), b"source/d/same": b"text " * 90}
NEW_PASSWORD = "another"
EACH = 1 if settings.default.max_examples > 1000 else 2
"""Every place in the long form, every second one in the short form."""


@dataclass(frozen=True)
class Verb:
    """What is done through the faulty storage, and what a success has promised."""

    run: Callable[[Repository], object]
    promised: Callable[[Repository, object], None] = lambda repository, result: None
    password: str = PASSWORD


def _back_up(repository: Repository) -> object:
    return run_backup(repository, FolderSource([b"source"]), time="2024-07-01T00:00:00Z", pack_size=1000)


def _is_saved(repository: Repository, result: object) -> None:
    (saved,) = [s for s in repository.snapshots() if s.id == result.snapshot_id]  # type: ignore[attr-defined]
    assert contents_below(repository, saved.tree) == NOW


def _restore(repository: Repository) -> object:
    place = Path("target")
    result = restore_to(repository, place)
    return result.complete, files_below(place)


def _is_restored(_: Repository, result: object) -> None:
    complete, files = result  # type: ignore[misc]
    if complete:
        assert {name.encode(): data for name, data in files.items()} == BEFORE


def _all_packs(repository: Repository) -> object:
    return repair_packs(repository, sorted(pack.hex() for pack in repository.index.packs))


def _all_are_tagged(repository: Repository, _: object) -> None:
    assert all("seen" in snapshot.tags for snapshot in repository.snapshots())


VERBS = {
    "backup": Verb(_back_up, _is_saved),
    "restore": Verb(_restore, _is_restored),
    "prune": Verb(lambda r: prune(r, PruneOptions(max_unused=Unused(size=0), pack_size=1000, workers=0))),
    "forget": Verb(lambda r: remove_snapshots(r, [])),
    "tag": Verb(lambda r: tag_snapshots(r, r.snapshots(), add=["seen"]), _all_are_tagged),
    "password": Verb(lambda r: change_password(r, NEW_PASSWORD, params=QUICK), password=NEW_PASSWORD),
    "repair index": Verb(lambda r: repair_index(r, read_all_packs=True)),
    "repair packs": Verb(_all_packs),
    "repair snapshots": Verb(lambda r: repair_snapshots(r, r.snapshots(), forget=True)),
}

FAULTS: dict[str, Callable[[ObjectStore, int], ObjectStore]] = {
    "fails": lambda store, at: FailingStore(store, at={at}),
    "fails after the effect": lambda store, at: FailingStore(store, at={at}, after=True),
    "fails from then on": lambda store, at: FailingStore(store, from_request=at),
    "loses a put": lambda store, at: LyingStore(store, at={at}),
    "cuts a put": lambda store, at: TruncatingStore(store, at={at}),
    "flips a bit of a get": lambda store, at: CorruptingStore(store, at={at}, seed=at),
    "is cut off": lambda store, at: CutStore(store, after_bytes=300 * at),
    "is full": lambda store, at: FullStore(store, room=300 * (at - 1)),
    "lists late": lambda store, at: LaggyStore(store, requests=2 ** (at - 1)),
}


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """A repository whose snapshots share packs with what nobody needs; beside it a changed source."""
    monkeypatch.chdir(tmp_path)
    objects: Objects = {}
    repository = new_repository(MemoryStore(objects))
    for contents in ({b"source/gone": noise(9, 500), **BEFORE}, BEFORE, NOW):
        for path in [path for path in Path("source").rglob("*") if path.is_file()]:
            path.unlink()
        for name, data in contents.items():
            Path(name.decode()).parent.mkdir(parents=True, exist_ok=True)
            Path(name.decode()).write_bytes(data)
        if contents != NOW:
            run_backup(repository, FolderSource([b"source"]), time=f"2024-06-01T00:00:0{len(contents)}Z")
            repository = _opened(MemoryStore(objects))
    first = max(repository.snapshots(), key=lambda snapshot: snapshot.time)
    remove_snapshots(repository, [first.id])
    return dict(objects)


def _opened(store: ObjectStore, password: str = PASSWORD) -> Repository:
    repository = Repository.open(store, password)
    repository.load_index()
    return repository


def _attempts(verb: Verb, fault: str, whole: Objects) -> Iterator[tuple[Objects, object | None]]:
    """Run the verb with the fault at every place until it makes no difference; yield what is left, and the result."""
    for at in count(1, EACH):
        objects = dict(whole)
        store = FAULTS[fault](MemoryStore(objects), at)
        try:
            result = verb.run(_opened(store))
        except (EngineError, StoreError):
            result = None
        yield objects, result
        if at > getattr(store, "requests", 2) and result is not None:
            return
        assert at < 200, "it never succeeds"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", VERBS)
def test_no_success_without_the_data_and_no_loss(whole: Objects, name: str, fault: str) -> None:
    verb = VERBS[name]
    for objects, result in _attempts(VERBS[name], fault, whole):
        password = PASSWORD
        try:
            repository = _opened(MemoryStore(objects))
        except EngineError:
            password = verb.password
            repository = _opened(MemoryStore(objects), password)
        _assert_kept(repository)
        if result is not None:
            verb.promised(repository, result)
            _opened(MemoryStore(objects), verb.password)
        else:
            again = verb.run(repository)
            repository = _opened(MemoryStore(objects), verb.password)
            verb.promised(repository, again)
        _assert_kept(repository)


def _assert_kept(repository: Repository) -> None:
    """What was announced before is there and reads back, and no snapshot says more than it holds."""
    contents = [contents_below(repository, snapshot.tree) for snapshot in repository.snapshots()]
    assert BEFORE in contents
    assert all(content in (BEFORE, NOW) for content in contents)
    assert_whole(repository)

"""An open repository: which key opens it, what of it is believed, and what is tried before something counts as lost."""

from __future__ import annotations

import json
import os
import re
import resource
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from backports.zstd import compress as zstd

from backups.engine import keys
from backups.engine.blob import BlobType
from backups.engine.crypto import Key
from backups.engine.errors import (
    BlobMissing,
    Corrupt,
    EngineError,
    KeyRejected,
    RepositoryExists,
    RepositoryMissing,
    Unsupported,
    WrongKey,
)
from backups.engine.index_file import encode_index
from backups.engine.keys import KdfParams, wrap
from backups.engine.layout import CONFIG, DATA, INDEX, KEYS, LOCKS, SNAPSHOTS, folders, object_key
from backups.engine.pack import EAGER, Entry, entry_size, parse_header
from backups.engine.repository import Repository
from backups.engine.times import now_text, parse_time
from destinations.storage.base import Capabilities, ObjectInfo
from destinations.storage.errors import ObjectMissing, StoreError
from destinations.storage.memory import MemoryStore
from destinations.storage.wrappers.readonly import WriteProtectedStore
from tests.engine.repositories import (
    PASSWORD,
    POLYNOMIAL,
    QUICK,
    Writer,
    contents,
    local,
    new_repository,
    noise,
    reopened,
)
from tests.engine.running import in_child
from tests.fakes.faulty_store import CorruptingStore, CountingStore, Died, DyingStore, LyingStore, TruncatingStore

MASTER = Key(bytes(range(32)), bytes(range(0x20, 0x30)), bytes(range(0x30, 0x40)))


@pytest.fixture
def objects() -> dict[str, bytes]:
    return {}


@pytest.fixture
def repository(objects: dict[str, bytes]) -> Repository:
    return new_repository(MemoryStore(objects))


def add_key(objects: dict[str, bytes], master: Key, password: str, **changed: Any) -> str:
    """Add a key file, with fields changed if asked; return its id."""
    raw = wrap(master, password, QUICK, created="2024-01-01T00:00:00Z")
    if changed:
        raw = json.dumps(json.loads(raw) | changed).encode()
    name = sha256(raw).hexdigest()
    objects[object_key(KEYS, name)] = raw
    return name


# ---------------------------------------------------------------------- making one


def test_a_new_repository_has_a_key_and_a_config_and_opens(objects: dict[str, bytes]) -> None:
    made = Repository.create(MemoryStore(objects), PASSWORD, params=QUICK)
    assert sorted(key.split("/")[0] for key in objects) == ["config", "keys"]
    opened = Repository.open(MemoryStore(objects), PASSWORD)
    assert opened.id == made.id
    assert opened.version == 2
    assert opened.key_id == made.key_id
    assert opened.chunker.polynomial == made.chunker.polynomial
    with pytest.raises(WrongKey):
        Repository.open(MemoryStore(objects), PASSWORD + "!")


def test_every_repository_is_its_own(objects: dict[str, bytes]) -> None:
    one, other = (Repository.create(MemoryStore({}), PASSWORD, params=QUICK) for _ in range(2))
    assert one.id != other.id
    assert one.key.encrypt != other.key.encrypt
    assert one.chunker.polynomial != other.chunker.polynomial


def test_the_key_is_there_before_the_config() -> None:
    store = CountingStore(MemoryStore(), {"put"})
    Repository.create(store, PASSWORD, params=QUICK)
    assert [key.split("/")[0] for _, key in store.log] == ["keys", "config"]


def test_a_making_that_was_killed_is_made_whole_by_the_next() -> None:
    objects: dict[str, bytes] = {}
    died, at = True, 0
    while died:
        at += 1
        objects.clear()
        store = DyingStore(MemoryStore(objects), at, after=True)
        try:
            Repository.create(store, PASSWORD, params=QUICK)
            died = store.dead
        except Died:
            pass
        if CONFIG not in objects:
            if objects:
                with pytest.raises(RepositoryExists):
                    Repository.create(MemoryStore(objects), "another", params=QUICK)
            Repository.create(MemoryStore(objects), PASSWORD, params=QUICK)
        assert sorted(key.split("/")[0] for key in objects) == ["config", "keys"]
        Repository.open(MemoryStore(objects), PASSWORD)
    assert at > 5


@pytest.mark.parametrize("left", ["index/" + "ab" * 32, "data/ab/" + "ab" * 32, "config-spare"])
def test_a_key_beside_more_than_nothing_is_no_start_of_a_repository(left: str) -> None:
    objects: dict[str, bytes] = {}
    Repository.create(MemoryStore(objects), PASSWORD, params=QUICK)
    del objects[CONFIG]
    objects[left] = b"something"
    with pytest.raises(RepositoryExists):
        Repository.create(MemoryStore(objects), PASSWORD, params=QUICK)


@pytest.mark.parametrize("left", ["config", "keys/" + "ab" * 32, "snapshots/" + "ab" * 32])
def test_nothing_that_is_there_is_ever_overwritten(left: str) -> None:
    objects = {left: b"something"}
    with pytest.raises(RepositoryExists):
        Repository.create(MemoryStore(objects), PASSWORD, params=QUICK)
    assert objects == {left: b"something"}


def test_only_versions_that_exist_are_made() -> None:
    for version in (0, 3, -1):
        with pytest.raises(Unsupported):
            Repository.create(MemoryStore(), PASSWORD, version=version, params=QUICK)


def test_a_polynomial_can_be_shared() -> None:
    made = Repository.create(MemoryStore(), PASSWORD, params=QUICK, polynomial=POLYNOMIAL)
    assert made.config.chunker_polynomial == "3da3358b4dc173"


def test_a_local_one_has_all_its_folders_from_the_start(tmp_path: Path) -> None:
    Repository.create(local(tmp_path / "repository"), PASSWORD, params=QUICK)
    for folder in folders():
        assert (tmp_path / "repository" / folder).is_dir()
        assert (tmp_path / "repository" / folder).stat().st_mode & 0o777 == 0o700
    assert len(folders()) == 261


def test_a_config_that_reads_back_differently_is_told() -> None:
    with pytest.raises((Corrupt, StoreError)):
        Repository.create(LyingStore(MemoryStore(), keys=lambda key: key == CONFIG), PASSWORD, params=QUICK)
    with pytest.raises(Corrupt):
        Repository.create(TruncatingStore(MemoryStore(), keys=lambda key: key == CONFIG), PASSWORD, params=QUICK)


# ---------------------------------------------------------------------- which key opens it


def test_any_of_several_passwords_opens_it(repository: Repository, objects: dict[str, bytes]) -> None:
    names = {f"password {n}": add_key(objects, repository.key, f"password {n}") for n in range(5)}
    for password, name in {**names, PASSWORD: repository.key_id}.items():
        opened = Repository.open(MemoryStore(objects), password)
        assert opened.key_id == name
        assert opened.id == repository.id


MALFORMED: dict[str, dict[str, Any]] = {
    "a short salt": {"salt": "AAAA"},
    "too much memory": {"N": 2**40},
    "no number at all": {"N": "x"},
    "another derivation": {"kdf": "argon2id"},
    "no base64": {"data": "!"},
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_key_locks_nobody_out(repository: Repository, objects: dict[str, bytes], what: str) -> None:
    """Stock programs stop at it; whoever comes first in the listing decides."""
    for number in range(6):
        add_key(objects, repository.key, "other", username=str(number), **MALFORMED[what])
    assert Repository.open(MemoryStore(objects), PASSWORD).id == repository.id
    with pytest.raises(KeyRejected, match=r"keys/[0-9a-f]{64}"):
        Repository.open(MemoryStore(objects), "wrong")


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"{", b"x" * (keys.MAX_KEY_FILE + 1)])
def test_rubbish_among_the_keys_locks_nobody_out(
    repository: Repository, objects: dict[str, bytes], content: bytes
) -> None:
    for number in range(8):
        objects[object_key(KEYS, f"{number:064x}")] = content
    objects["keys/readme.txt"] = b"not a key"
    assert Repository.open(MemoryStore(objects), PASSWORD).id == repository.id


def test_twenty_keys_are_tried_and_the_hinted_one_first(
    repository: Repository, objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [add_key(objects, repository.key, f"password {n}") for n in range(30)]
    tried: list[str] = []
    real = keys.unwrap

    def counting(raw: bytes, password: str) -> Key:
        tried.append(sha256(raw).hexdigest())
        return real(raw, password)

    monkeypatch.setattr(keys, "unwrap", counting)
    with pytest.raises(WrongKey):
        Repository.open(MemoryStore(objects), "none of these")
    assert len(tried) == 20
    last = sorted(names)[-1]
    tried.clear()
    with pytest.raises(WrongKey):
        Repository.open(MemoryStore(objects), "none of these", key_hint=last)
    assert tried[0] == last
    tried.clear()
    number = names.index(last)
    assert Repository.open(MemoryStore(objects), f"password {number}", key_hint=last).key_id == last
    assert tried == [last]


def test_a_hint_that_is_none_does_no_harm(repository: Repository, objects: dict[str, bytes]) -> None:
    for hint in ("", "ab" * 32, "../config", "x"):
        assert Repository.open(MemoryStore(objects), PASSWORD, key_hint=hint).id == repository.id


def test_a_key_that_goes_while_it_is_looked_at_is_passed_over(
    repository: Repository, objects: dict[str, bytes]
) -> None:
    """Somebody changes his password at this moment."""

    class Vanishing(CountingStore):
        def list(self, prefix: str):  # type: ignore[no-untyped-def]
            return iter([*super().list(prefix), ObjectInfo(object_key(KEYS, "00" * 32), 400)])

    assert Repository.open(Vanishing(MemoryStore(objects)), PASSWORD).id == repository.id


def test_nothing_at_all_and_half_of_it_are_told_apart(repository: Repository, objects: dict[str, bytes]) -> None:
    with pytest.raises(RepositoryMissing):
        Repository.open(MemoryStore(), PASSWORD)
    with pytest.raises(WrongKey):
        Repository.open(MemoryStore({CONFIG: objects[CONFIG]}), PASSWORD)
    without_config = {key: value for key, value in objects.items() if key != CONFIG}
    with pytest.raises(RepositoryMissing):
        Repository.open(MemoryStore(without_config), PASSWORD)


def test_the_exit_codes_are_those_of_the_formats_own_tool() -> None:
    assert (RepositoryMissing.exit_code, WrongKey.exit_code, Corrupt.exit_code) == (10, 12, 1)


# ---------------------------------------------------------------------- a hostile config


def _with_config(config: object, raw: bytes | None = None) -> dict[str, bytes]:
    objects: dict[str, bytes] = {}
    add_key(objects, MASTER, PASSWORD)
    objects[CONFIG] = MASTER.seal(json.dumps(config).encode() if raw is None else raw)
    return objects


GOOD = {"version": 2, "id": "ab" * 32, "chunker_polynomial": "3da3358b4dc173"}
HOSTILE: dict[str, tuple[dict[str, Any], type[EngineError]]] = {
    "version 3": ({"version": 3}, Unsupported),
    "version 0": ({"version": 0}, Unsupported),
    "a huge version": ({"version": 10**30}, EngineError),
    "version as text": ({"version": "2"}, Corrupt),
    "version as truth": ({"version": True}, Corrupt),
    "a short id": ({"id": "ab"}, Corrupt),
    "an id that is a path": ({"id": "../../../../etc/cron.d/" + "a" * 41}, Corrupt),
    "an id in capitals": ({"id": "AB" * 32}, Corrupt),
    "a polynomial that can be divided": ({"chunker_polynomial": "3da3358b4dc171"}, Corrupt),
    "a polynomial of no degree": ({"chunker_polynomial": "1"}, Corrupt),
    "no polynomial": ({"chunker_polynomial": ""}, Corrupt),
    "a polynomial of another degree": ({"chunker_polynomial": f"{1 << 54 | 9:x}"}, Corrupt),
    "a polynomial without end": ({"chunker_polynomial": "f" * 1_000_000}, Corrupt),
    "a negative polynomial": ({"chunker_polynomial": "-3da3358b4dc173"}, Corrupt),
    "a polynomial that is text": ({"chunker_polynomial": "zz"}, Corrupt),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_config_of_a_stranger_is_refused(what: str, tmp_path: Path) -> None:
    changed, error = HOSTILE[what]
    began = time.process_time()
    with pytest.raises(error):
        Repository.open(MemoryStore(_with_config(GOOD | changed)), PASSWORD, cache_root=tmp_path)
    assert time.process_time() - began < 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"version":2}'])
def test_what_is_no_config_is_damage(raw: bytes) -> None:
    with pytest.raises(Corrupt):
        Repository.open(MemoryStore(_with_config(None, raw)), PASSWORD)


def test_a_flipped_byte_anywhere_in_the_config_is_seen(repository: Repository, objects: dict[str, bytes]) -> None:
    whole = objects[CONFIG]
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 1
        with pytest.raises(Corrupt):
            Repository.open_with_key(MemoryStore({CONFIG: bytes(changed)}), repository.key)


def test_unknown_fields_of_a_newer_writer_are_no_harm() -> None:
    opened = Repository.open(MemoryStore(_with_config(GOOD | {"future": [1]})), PASSWORD)
    assert opened.id == "ab" * 32


# ---------------------------------------------------------------------- objects


@pytest.mark.parametrize("version", [1, 2])
def test_objects_are_stored_as_the_version_says(version: int) -> None:
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects), version=version)
    payload = b'{"some":"json"}'
    for kind in (INDEX, SNAPSHOTS, LOCKS):
        name = repository.save_object(kind, payload)
        sealed = objects[object_key(kind, name)]
        assert sha256(sealed).hexdigest() == name
        assert repository.load_object(kind, name) == payload
        plain = repository.key.open(sealed)
        assert plain == payload if version == 1 else plain[:1] == b"\x02"


@pytest.mark.parametrize("payload", [b'{"packs":[]}', b"[]", b""])
def test_plain_objects_from_before_an_upgrade_are_read(
    repository: Repository, objects: dict[str, bytes], payload: bytes
) -> None:
    sealed = repository.key.seal(payload)
    name = sha256(sealed).hexdigest()
    objects[object_key(INDEX, name)] = sealed
    assert repository.load_object(INDEX, name) == payload


BAD_PAYLOADS = {
    "another marker": b"\x03" + zstd(b"{}"),
    "no frame": b"\x02rubbish",
    "half a frame": b"\x02" + zstd(b"{" * 1000)[:-3],
    "a frame with something behind it": b"\x02" + zstd(b"{}") + b"x",
    "nothing compressed": b"\x02",
    "text": b"hello",
}


@pytest.mark.parametrize("what", BAD_PAYLOADS)
def test_objects_no_writer_makes_are_damage(repository: Repository, objects: dict[str, bytes], what: str) -> None:
    sealed = repository.key.seal(BAD_PAYLOADS[what])
    name = sha256(sealed).hexdigest()
    objects[object_key(SNAPSHOTS, name)] = sealed
    with pytest.raises(Corrupt) as told:
        repository.load_object(SNAPSHOTS, name)
    assert (told.value.kind, told.value.object_id) == (SNAPSHOTS, name)


def test_a_bomb_in_an_object_is_bounded(repository: Repository, objects: dict[str, bytes]) -> None:
    bomb = b"\x02" + zstd(bytes(64 * 1024 * 1024)) * 8
    sealed = repository.key.seal(bomb)
    name = sha256(sealed).hexdigest()
    objects[object_key(INDEX, name)] = sealed

    def work() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(Corrupt):
            repository.load_index()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024

    assert in_child(work) < 600


def test_an_object_under_a_wrong_name_is_damage(repository: Repository, objects: dict[str, bytes]) -> None:
    name = repository.save_object(SNAPSHOTS, b"{}")
    objects[object_key(SNAPSHOTS, "ab" * 32)] = objects[object_key(SNAPSHOTS, name)]
    with pytest.raises(Corrupt):
        repository.load_object(SNAPSHOTS, "ab" * 32)
    with pytest.raises(ObjectMissing):
        repository.load_object(SNAPSHOTS, "cd" * 32)


def test_what_reads_badly_once_is_read_again(repository: Repository, objects: dict[str, bytes]) -> None:
    name = repository.save_object(SNAPSHOTS, b'{"a":1}')
    flaky = Repository.open_with_key(MemoryStore(objects), repository.key)
    flaky.store = CorruptingStore(MemoryStore(objects), at=[1])
    assert flaky.load_object(SNAPSHOTS, name) == b'{"a":1}'
    flaky.store = CorruptingStore(MemoryStore(objects), at=[1, 2])
    with pytest.raises(Corrupt):
        flaky.load_object(SNAPSHOTS, name)


def test_foreign_names_are_left_out(repository: Repository, objects: dict[str, bytes]) -> None:
    name = repository.save_object(SNAPSHOTS, b"{}")
    for foreign in ("readme", "ab" * 31, "AB" * 32, "ab" * 32 + ".bak", "zz" * 32):
        objects[f"snapshots/{foreign.lower() if foreign.isupper() else foreign}"] = b"x"
    objects.pop("snapshots/" + "ab" * 32, None)
    assert list(repository.ids(SNAPSHOTS)) == [name]


@pytest.mark.parametrize("liar", [LyingStore, TruncatingStore])
def test_what_a_storage_only_says_it_stored_is_told(objects: dict[str, bytes], liar: Callable[..., Any]) -> None:
    new_repository(MemoryStore(objects))
    repository = Repository.open(liar(MemoryStore(objects), keys=lambda key: key.startswith(SNAPSHOTS)), PASSWORD)
    with pytest.raises((Corrupt, StoreError)):
        repository.save_object(SNAPSHOTS, b'{"text":"' + b"x" * 500 + b'"}')


def test_a_transfer_that_nothing_protects_is_read_back(objects: dict[str, bytes]) -> None:
    class Unprotected(CorruptingStore):
        @property
        def capabilities(self) -> Capabilities:
            return Capabilities(verified_put=False)

    new_repository(MemoryStore(objects))
    repository = Repository.open(MemoryStore(objects), PASSWORD)
    repository.store = Unprotected(MemoryStore(objects), keys=lambda key: key.startswith(INDEX))
    with pytest.raises(Corrupt):
        repository.save_object(INDEX, b"{}")
    repository.store = Unprotected(MemoryStore(objects))
    repository.save_object(INDEX, b"{}")


# ---------------------------------------------------------------------- index and blobs


def test_damaged_index_objects_are_told_or_raised(repository: Repository, objects: dict[str, bytes]) -> None:
    Writer(repository).snapshot({"f": noise(1)})
    good = repository.ids(INDEX)
    bad = repository.save_object(INDEX, b'{"packs":[{"id":"x","blobs":[]}]}')
    with pytest.raises(Corrupt, match=bad):
        reopened(repository)
    told: list[Corrupt] = []
    again = Repository.open(MemoryStore(objects), PASSWORD)
    again.load_index(told.append)
    assert [error.object_id for error in told] == [bad]
    assert len(again.index) == 2
    assert good


def test_an_index_in_part_is_never_kept(repository: Repository, objects: dict[str, bytes], tmp_path: Path) -> None:
    Writer(repository).snapshot({"f": noise(1)})
    repository.save_object(INDEX, b"rubbish")
    again = Repository.open(MemoryStore(objects), PASSWORD, cache_root=tmp_path)
    again.load_index(lambda error: None)
    assert not list(tmp_path.rglob("index.table"))


def test_a_blob_is_taken_from_the_copy_that_is_whole(repository: Repository, objects: dict[str, bytes]) -> None:
    writer = Writer(repository)
    writer.force = True
    names = set()
    for _ in range(3):
        name = writer.blob(BlobType.DATA, b"content " * 50)
        names.update(writer.flush())
    assert len(names) == 3
    for damage in (bytes, lambda whole: whole[:20], None):
        pack = names.pop()
        key = object_key(DATA, pack)
        if damage is None:
            del objects[key]
        elif damage is bytes:
            objects[key] = bytes(len(objects[key]))
        else:
            objects[key] = damage(objects[key])
        again = reopened(repository)
        if names:
            assert again.load_blob(BlobType.DATA, name) == b"content " * 50
        else:
            with pytest.raises(Corrupt) as told:
                again.load_blob(BlobType.DATA, name)
            assert told.value.object_id == name.hex()


def test_a_blob_with_a_thousand_damaged_places_is_not_looked_for_in_all(
    repository: Repository, objects: dict[str, bytes]
) -> None:
    name = sha256(b"nowhere").digest()
    entries = [Entry(BlobType.DATA, name, 100 * number, 100, 0) for number in range(1000)]
    repository.save_object(INDEX, encode_index((f"{pack:064x}", entries) for pack in range(20)))
    store = CountingStore(MemoryStore(objects))
    again = reopened(repository, store)
    store.log.clear()
    with pytest.raises(Corrupt):
        again.load_blob(BlobType.DATA, name)
    assert len(store.log) < 100


def test_a_blob_in_no_pack_is_missing_and_of_the_other_kind_too(repository: Repository) -> None:
    writer = Writer(repository)
    name = writer.blob(BlobType.DATA, b"content")
    writer.flush()
    assert repository.load_blob(BlobType.DATA, name) == b"content"
    with pytest.raises(BlobMissing):
        repository.load_blob(BlobType.TREE, name)
    with pytest.raises(BlobMissing):
        repository.load_blob(BlobType.DATA, bytes(32))


@pytest.mark.parametrize("tree", ["", "ab", "zz" * 32, "AB" * 32, "../../" + "a" * 58, "ab" * 33])
def test_a_tree_id_that_is_none_is_damage(repository: Repository, tree: str) -> None:
    with pytest.raises(Corrupt):
        repository.load_tree(tree)


def test_a_blob_that_is_no_tree_is_said_to_be_none_at_the_first_copy(repository: Repository) -> None:
    writer = Writer(repository)
    for _ in range(3):
        name = writer.blob(BlobType.TREE, b"no JSON at all")
        writer.flush()
    asked: list[bytes] = []

    def decode(plain: bytes, tree_id: str) -> int:
        asked.append(plain)
        raise Corrupt(f"{tree_id} is no tree")

    with pytest.raises(Corrupt, match="is no tree"):
        repository.load_tree_as(name.hex(), decode)
    assert asked == [b"no JSON at all"]
    assert repository.load_tree_as(name.hex(), lambda plain, _: len(plain)) == 14


def test_an_index_that_points_past_the_end_of_its_pack_is_damage(
    repository: Repository, objects: dict[str, bytes]
) -> None:
    writer = Writer(repository)
    name = writer.blob(BlobType.TREE, b'{"nodes":[]}\n')
    (pack,) = writer.flush(index=False)
    entry = repository.read_header(pack, len(objects[object_key(DATA, pack)]))[0]
    for changed in (
        {"offset": 10_000},
        {"length": 4_000_000_000},
        {"length": 300 * 1024 * 1024},
        {"plain_size": 2**32 - 1},
    ):
        fresh = {key: value for key, value in objects.items() if not key.startswith(INDEX)}
        again = Repository.open(MemoryStore(fresh), PASSWORD)
        again.save_object(INDEX, encode_index([(pack, [entry._replace(**changed)])]))
        began = time.process_time()
        with pytest.raises(Corrupt):
            again.load_index()
            again.load_blob(BlobType.TREE, name)
        assert time.process_time() - began < 2


def test_headers_of_any_length_are_read(repository: Repository, objects: dict[str, bytes]) -> None:
    for count in (1, 14, 15, 16, 17, 200):
        writer = Writer(repository)
        names = [writer.blob(BlobType.DATA, b"%d %d" % (count, number)) for number in range(count)]
        (pack,) = writer.flush()
        store = CountingStore(MemoryStore(objects), {"get"})
        again = Repository.open_with_key(store, repository.key)
        store.log.clear()
        found = again.read_header(pack, len(objects[object_key(DATA, pack)]))
        assert [entry.id for entry in found] == names
        length = 32 + sum(entry_size(entry.plain_size) for entry in found)
        assert len(store.log) == (1 if length + 4 <= EAGER else 2)


def test_a_pack_on_its_own_says_what_is_in_it(repository: Repository, objects: dict[str, bytes]) -> None:
    Writer(repository).snapshot({"f": noise(1), "d": {"g": noise(2)}})
    listed = {
        (repository.index.packs[place.pack].hex(), kind, blob_id, place.offset, place.length)
        for kind, blob_id, place in repository.index.items()
    }
    found = {
        (pack, entry.kind, entry.id, entry.offset, entry.length)
        for pack, size in repository.ids(DATA).items()
        for entry in repository.read_header(pack, size)
    }
    assert found == listed
    with pytest.raises(Corrupt):
        parse_header(b"")


def test_snapshots_come_oldest_first_and_damaged_ones_are_told(
    repository: Repository, objects: dict[str, bytes]
) -> None:
    writer = Writer(repository)
    for moment in ("2024-03-01T00:00:00Z", "2024-01-01T12:00:00+14:00", "2024-01-01T00:00:00Z"):
        writer.snapshot({"f": moment.encode()}, time=moment)
    times = [snapshot.instant for snapshot in repository.snapshots()]
    assert times == sorted(times)
    bad = repository.save_object(SNAPSHOTS, b'{"time":"never"}')
    unreadable = object_key(SNAPSHOTS, "ab" * 32)
    objects[unreadable] = b"rubbish"
    with pytest.raises(Corrupt):
        repository.snapshots()
    told: list[Corrupt] = []
    assert len(repository.snapshots(told.append)) == 3
    assert {error.object_id for error in told} == {bad, "ab" * 32}


# ---------------------------------------------------------------------- places that cannot be written


def test_a_read_only_place_is_read_without_a_trace(objects: dict[str, bytes], tmp_path: Path) -> None:
    writer = Writer(new_repository(MemoryStore(objects)))
    writer.snapshot({"f": noise(1)})
    before = objects.copy()
    repository = Repository.open(WriteProtectedStore(MemoryStore(objects)), PASSWORD, cache_root=tmp_path)
    repository.load_index()
    assert contents(repository)
    assert objects == before


def test_a_moment_is_written_with_nanoseconds() -> None:
    text = now_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", text)
    assert abs(parse_time(text) - time.time_ns()) < 60 * 10**9


def test_a_killed_creation_leaves_nothing_that_opens(tmp_path: Path) -> None:
    """A key without a config is no repository yet."""
    objects: dict[str, bytes] = {}
    add_key(objects, MASTER, PASSWORD)
    with pytest.raises(RepositoryMissing):
        Repository.open(MemoryStore(objects), PASSWORD)
    assert os.listdir(tmp_path) == []


def test_the_cost_of_a_strangers_key_is_bounded() -> None:
    objects: dict[str, bytes] = {}
    add_key(objects, MASTER, PASSWORD, N=2**30, r=8)
    objects[CONFIG] = MASTER.seal(json.dumps(GOOD).encode())

    def work() -> tuple[float, int]:
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        with pytest.raises(KeyRejected):
            Repository.open(MemoryStore(objects), PASSWORD)
        return time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    seconds, kilobytes = in_child(work)
    assert seconds < 1
    assert kilobytes < 10_000
    assert KdfParams().n == 32768

"""The contract of ``destinations/storage/CONTRACT.md``, for every driver and every stack of wrappers."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import pairwise
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from destinations.storage import (
    AcceptsPace,
    BadConfig,
    Capabilities,
    ObjectInfo,
    ObjectMissing,
    ObjectStore,
    PreparesFolders,
    ReportsCapacity,
    ShortRead,
    StoreError,
)
from destinations.storage.errors import CapacityUnknown
from destinations.storage.wrappers import BandwidthStore
from destinations.storage.wrappers.bandwidth import Rates, Throttle
from tests.contract.places import PLACES, Place

CONTENT = bytes(range(256)) * 40


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return PLACES[request.param](tmp_path)


@pytest.fixture
def store(place: Place) -> Iterator[ObjectStore]:
    store = place.open()
    yield store
    store.close()


def listed(store: ObjectStore, prefix: str = "") -> dict[str, int]:
    infos = list(store.list(prefix))
    assert all(isinstance(info, ObjectInfo) for info in infos)
    assert len({info.key for info in infos}) == len(infos), "an object was listed twice"
    return dict(infos)


# put, get, stat


def test_an_object_comes_back_as_it_was_put(store: ObjectStore) -> None:
    store.put("data/ab/abcd", CONTENT)
    assert store.get("data/ab/abcd") == CONTENT
    assert isinstance(store.get("data/ab/abcd"), bytes)
    assert store.stat("data/ab/abcd") == len(CONTENT)


def test_an_object_without_a_folder_comes_back(store: ObjectStore) -> None:
    store.put("config", b"x" * 155)
    assert store.get("config") == b"x" * 155


def test_zero_bytes_are_an_object(store: ObjectStore) -> None:
    store.put("index/empty", b"")
    assert store.stat("index/empty") == 0
    assert store.get("index/empty") == b""
    assert store.get("index/empty", offset=0, length=0) == b""
    assert listed(store) == {"index/empty": 0}


@pytest.mark.parametrize(
    "data",
    [
        b"whole",
        bytearray(b"whole"),
        memoryview(b"whole"),
        memoryview(b"-whole-")[1:-1],
        [b"wh", bytearray(b"ol"), memoryview(b"e")],
        (b"", b"whole", b""),
        [bytes([byte]) for byte in b"whole"],
    ],
    ids=["bytes", "bytearray", "view", "slice", "mixed parts", "empty parts", "single bytes"],
)
def test_any_shape_of_buffer_is_stored_whole(store: ObjectStore, data: bytes) -> None:
    store.put("keys/a", data)
    assert store.get("keys/a") == b"whole"


def test_thousands_of_parts_are_stored_in_order(store: ObjectStore) -> None:
    parts = [number.to_bytes(4, "big") * (number % 7) for number in range(5000)]
    store.put("data/00/parts", parts)
    assert store.get("data/00/parts") == b"".join(parts)


def test_the_store_keeps_no_reference_to_the_callers_buffer(store: ObjectStore) -> None:
    buffer = bytearray(b"before")
    store.put("data/00/buffer", buffer)
    buffer[:] = b"after!"
    assert store.get("data/00/buffer") == b"before"


def test_put_replaces_and_repeating_is_harmless(store: ObjectStore) -> None:
    for content in (b"first, and longer", b"second", b"second"):
        store.put("config", content)
    assert store.get("config") == b"second"
    assert listed(store) == {"config": 6}


def test_a_pack_sized_object_comes_back(store: ObjectStore) -> None:
    piece = random.Random(1).randbytes(1 << 20)
    store.put("data/ff/pack", [piece] * 17 + [b"end"])
    assert store.stat("data/ff/pack") == 17 * (1 << 20) + 3
    whole = store.get("data/ff/pack")
    assert sha256(whole).digest() == sha256(piece * 17 + b"end").digest()
    assert store.get("data/ff/pack", offset=17 << 20) == b"end"
    assert store.get("data/ff/pack", offset=(5 << 20) - 2, length=4) == piece[-2:] + piece[:2]


@pytest.mark.soak
def test_an_object_of_200_mib_comes_back(store: ObjectStore) -> None:
    piece = random.Random(1).randbytes(1 << 20)
    store.put("data/ff/large", [piece] * 200 + [b"end"])
    size = (200 << 20) + 3
    assert listed(store) == {"data/ff/large": size}
    assert store.get("data/ff/large", offset=(199 << 20) + 7) == piece[7:] + b"end"
    seen = sha256()
    for offset in range(0, size, 32 << 20):
        seen.update(store.get("data/ff/large", offset=offset, length=min(32 << 20, size - offset)))
    assert seen.digest() == sha256(piece * 200 + b"end").digest()
    assert sha256(store.get("data/ff/large")).digest() == seen.digest()
    store.delete("data/ff/large")
    assert listed(store) == {}


# ranges


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 1), (0, 10240), (1, 10239), (10239, 1), (10240, 0), (4095, 2), (100, None), (10240, None), (0, 0), (5, 0)],
)
def test_a_range_is_exact(store: ObjectStore, offset: int, length: int | None) -> None:
    store.put("data/ab/range", CONTENT)
    end = None if length is None else offset + length
    assert store.get("data/ab/range", offset=offset, length=length) == CONTENT[offset:end]


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 10241), (10239, 2), (10240, 1), (10241, 0), (10241, None), (1 << 40, 1), (0, 1 << 50)]
)
def test_a_range_beyond_the_end_is_a_short_read(store: ObjectStore, offset: int, length: int | None) -> None:
    store.put("data/ab/range", CONTENT)
    with pytest.raises(ShortRead):
        store.get("data/ab/range", offset=offset, length=length)
    assert store.get("data/ab/range") == CONTENT, "the store works after a short read"


def test_a_range_of_an_empty_object_is_a_short_read(store: ObjectStore) -> None:
    store.put("data/ab/empty", b"")
    with pytest.raises(ShortRead):
        store.get("data/ab/empty", length=1)


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (-1, 1), (0, -1)])
def test_a_negative_range_is_the_callers_mistake(store: ObjectStore, offset: int, length: int | None) -> None:
    store.put("config", b"content")
    with pytest.raises(ValueError, match="not a range"):
        store.get("config", offset=offset, length=length)


# absent objects, delete


@pytest.mark.parametrize("key", ["config", "data/ab/absent", "locks/nothing/here"])
def test_an_absent_object_is_missing(store: ObjectStore, key: str) -> None:
    store.put("index/other", b"1")
    with pytest.raises(ObjectMissing):
        store.get(key)
    with pytest.raises(ObjectMissing):
        store.get(key, offset=3, length=4)
    with pytest.raises(ObjectMissing):
        store.stat(key)


def test_a_folder_is_not_an_object(store: ObjectStore) -> None:
    store.put("data/ab/object", b"1")
    with pytest.raises(ObjectMissing):
        store.stat("data/ab")
    with pytest.raises(ObjectMissing):
        store.get("data/ab")


def test_deleting_twice_is_fine(store: ObjectStore) -> None:
    store.put("locks/a", b"1")
    store.put("locks/b", b"2")
    store.delete("locks/a")
    store.delete("locks/a")
    store.delete("nowhere/at/all")
    with pytest.raises(ObjectMissing):
        store.get("locks/a")
    assert listed(store) == {"locks/b": 1}


def test_a_deleted_object_can_be_put_again(store: ObjectStore) -> None:
    store.put("locks/a", b"first")
    store.delete("locks/a")
    store.put("locks/a", b"again")
    assert store.get("locks/a") == b"again"


# list


def test_an_empty_store_and_a_missing_folder_list_as_empty(store: ObjectStore) -> None:
    assert listed(store) == {}
    assert listed(store, "data") == {}
    store.put("index/a", b"1")
    assert listed(store, "data") == {}
    assert listed(store, "data/ab/") == {}


def test_listing_is_recursive_and_keeps_to_its_folder(store: ObjectStore) -> None:
    objects = {"config": 1, "data/00/a": 2, "data/00/b": 0, "data/ff/c": 3, "data2/x": 4, "index/i": 5}
    for key, size in objects.items():
        store.put(key, b"z" * size)
    assert listed(store) == objects
    assert listed(store, "data") == {key: size for key, size in objects.items() if key.startswith("data/")}
    assert listed(store, "data/") == listed(store, "data")
    assert listed(store, "data/00") == {"data/00/a": 2, "data/00/b": 0}
    assert listed(store, "index") == {"index/i": 5}


def test_an_object_is_listed_as_soon_as_it_is_put_by_another_client(place: Place, store: ObjectStore) -> None:
    other = place.open()
    for number in range(5):
        key = f"snapshots/{number}"
        store.put(key, b"s" * number)
        assert listed(other, "snapshots")[key] == number
    store.delete("snapshots/3")
    assert "snapshots/3" not in listed(other, "snapshots")
    other.close()


def test_many_objects_are_all_listed(place: Place, store: ObjectStore) -> None:
    keys = {f"data/{number % 16:02x}/{number:064x}" for number in range(place.many)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b"x"), keys))
    assert set(listed(store, "data")) == keys


def test_a_caller_may_use_the_store_between_two_items_of_a_listing(store: ObjectStore) -> None:
    for number in range(20):
        store.put(f"index/{number}", b"i")
    for info in store.list("index"):
        assert store.get(info.key) == b"i"
        store.delete(info.key)
    assert listed(store) == {}


def test_a_listing_that_is_left_early_blocks_nothing(store: ObjectStore) -> None:
    for number in range(10):
        store.put(f"index/{number}", b"i")
    for _ in range(10):
        listing = store.list("index")
        next(iter(listing))
        del listing
    assert len(listed(store)) == 10


# names


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/config",
        "config/",
        "a//b",
        "..",
        "../config",
        "data/../config",
        "data/./x",
        ".",
        ".hidden",
        "data/.x",
        "UPPER",
        "ümlaut",
        "sp ace",
        "new\nline",
        "nul\0",
        "back\\slash",
        "quote'",
        "star*",
        "a\r\nDELE b",
        "-option",
        "x" * 201,
        "/".join(["x" * 100] * 6),
        "config-tmp-123",
        "data/ab/x-tmp-1",
        "locks/x-restic-temp-" + "0" * 32,
    ],
)
def test_a_name_that_is_no_key_is_refused_everywhere(store: ObjectStore, key: str) -> None:
    for call in (
        lambda: store.put(key, b"1"),
        lambda: store.get(key),
        lambda: store.stat(key),
        lambda: store.delete(key),
    ):
        with pytest.raises(BadConfig):
            call()
    assert listed(store) == {}


@pytest.mark.parametrize("prefix", ["..", "/data", "data/../..", "a//b", "ab*"])
def test_a_prefix_that_is_no_folder_is_refused(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(BadConfig):
        list(store.list(prefix))


@pytest.mark.parametrize("key", ["x" * 200, "a.b-c_d", "_under", "0", "data/ab/" + "f" * 64, "a/b/c/d/e/f"])
def test_every_legal_name_can_be_used(store: ObjectStore, key: str) -> None:
    store.put(key, b"1")
    assert listed(store) == {key: 1}
    assert store.get(key) == b"1"
    store.delete(key)
    assert listed(store) == {}


# lifecycle and abilities


def test_closing_twice_is_fine(place: Place) -> None:
    store = place.open()
    store.put("config", b"1")
    store.close()
    store.close()


def test_capabilities_are_a_value(store: ObjectStore) -> None:
    assert isinstance(store.capabilities, Capabilities)
    assert isinstance(store, ObjectStore)
    assert store.capabilities.connections >= 0


def test_prepared_folders_change_nothing_that_is_seen(store: ObjectStore) -> None:
    if not isinstance(store, PreparesFolders):
        pytest.skip("this kind has no folders to prepare")
    try:
        for _ in range(2):
            store.prepare(["data", "index", *(f"data/{number:02x}" for number in range(16))])
    except StoreError as error:
        assert error.code == "HF-STORE-READONLY"
    assert listed(store) == {}
    store.put("data/00/x", b"1")
    assert listed(store) == {"data/00/x": 1}


def test_capacity_is_plausible_where_it_is_known(store: ObjectStore) -> None:
    if not isinstance(store, ReportsCapacity):
        pytest.skip("this kind does not know its capacity")
    try:
        total, free = store.capacity()
    except CapacityUnknown:
        return
    assert 0 <= free <= total
    assert total > 0


# several clients


def test_twenty_clients_work_side_by_side(place: Place) -> None:
    def work(client: int) -> None:
        store = place.open()
        rng = random.Random(client)
        for number in range(4):
            content = rng.randbytes(rng.randrange(200_000))
            key = f"data/{client % 4:02x}/{client:02d}-{number}"
            store.put(key, content)
            assert store.get(key) == content
            start = rng.randrange(len(content) + 1)
            assert store.get(key, offset=start, length=len(content) - start) == content[start:]
            assert key in listed(store, f"data/{client % 4:02x}")
            if number == 3:
                store.delete(key)
        store.close()

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(20)))
    store = place.open()
    assert len(listed(store)) == 60
    store.close()


def test_one_client_serves_twenty_threads(store: ObjectStore) -> None:
    def work(number: int) -> None:
        content = random.Random(number).randbytes(30_000 + number)
        store.put(f"index/{number}", content)
        assert store.get(f"index/{number}") == content
        assert store.stat(f"index/{number}") == len(content)
        with pytest.raises(ObjectMissing):
            store.get(f"index/{number}-absent")

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(60)))
    assert len(listed(store)) == 60


def test_a_reader_never_sees_half_an_object_while_it_is_replaced(place: Place, store: ObjectStore) -> None:
    versions = [bytes([number]) * (50_000 + number * 1000) for number in range(12)]
    replaces(place, store, versions[0])
    stop = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        reader = place.open()
        while True:
            seen.append(reader.get("config"))
            if stop.is_set():
                break
        reader.close()

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for version in versions:
                store.put("config", version)
        finally:
            stop.set()
        for reader in readers:
            reader.result()
    assert seen
    assert set(seen) <= set(versions)


def replaces(place: Place, store: ObjectStore, content: bytes) -> None:
    """Skip where a server cannot replace in one step, which shows when it has to."""
    for _ in range(2):
        store.put("config", content)
    if not store.capabilities.overwrite or not place.replaces_at_once:
        pytest.skip("this server cannot replace in one step")


def test_two_writers_of_one_key_leave_one_whole_object(place: Place, store: ObjectStore) -> None:
    replaces(place, store, b"before")
    contents = [bytes([number]) * 100_000 for number in range(6)]

    def write(content: bytes) -> None:
        store = place.open()
        store.put("config", content)
        store.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, contents))
    assert store.get("config") in contents
    assert listed(store) == {"config": 100_000}


# killed writers, forked children


def _put_slowly(place: Place, began: Event) -> None:
    class Telling(Throttle):
        sent = 0

        def up(self, count: int) -> None:
            super().up(count)
            self.sent += count
            if self.sent > 300_000:
                began.set()

    BandwidthStore(place.open(), Telling(Rates(up=1 << 20))).put("data/ab/slow", bytes(24 << 20))


def test_a_killed_writer_leaves_nothing_visible(place: Place, store: ObjectStore) -> None:
    if not place.shared or not isinstance(store, AcceptsPace):
        pytest.skip("needs a driver that another process can use")
    store.put("data/ab/before", b"1")
    fork = multiprocessing.get_context("fork")
    began = fork.Event()
    writer = fork.Process(target=_put_slowly, args=(place, began))
    writer.start()
    try:
        assert began.wait(30), "the writer did not begin"
        assert listed(store) == {"data/ab/before": 1}
    finally:
        assert writer.pid
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert listed(store) == {"data/ab/before": 1}
    with pytest.raises(ObjectMissing):
        store.stat("data/ab/slow")
    store.put("data/ab/slow", b"whole this time")
    assert store.get("data/ab/slow") == b"whole this time"


def test_a_forked_child_and_its_parent_use_the_store_side_by_side(place: Place, store: ObjectStore) -> None:
    if not place.shared:
        pytest.skip("memory is not shared between processes")
    store.put("index/parent", CONTENT)
    child = multiprocessing.get_context("fork").Process(target=_child_work, args=(store,))
    child.start()
    for _ in range(20):
        assert store.get("index/parent") == CONTENT
    child.join(60)
    assert child.exitcode == 0
    assert store.get("index/child-19") == CONTENT
    assert len(listed(store)) == 21


def _child_work(store: ObjectStore) -> None:
    for number in range(20):
        store.put(f"index/child-{number}", CONTENT)
        assert store.get("index/parent") == CONTENT
    store.close()


# the pace


@pytest.mark.parametrize("way", ["up", "down"])
def test_the_driver_keeps_to_a_pace_block_by_block(store: ObjectStore, way: str) -> None:
    if not isinstance(store, AcceptsPace):
        pytest.skip("not a driver")
    moments: list[tuple[float, int]] = []
    rate = 400_000

    class Watched(Throttle):
        def up(self, count: int) -> None:
            super().up(count)
            moments.append((time.monotonic(), count))

        down = up

    content = random.Random(2).randbytes(rate)
    if way == "down":
        store.put("config", content)
    BandwidthStore(store, Watched(Rates(up=rate, down=rate)))
    began = time.monotonic()
    if way == "up":
        store.put("config", content)
    else:
        assert store.get("config") == content
    took = time.monotonic() - began
    store.set_pace(None)
    assert store.get("config") == content
    assert took > 0.7, "a second's worth of bytes went through at once"
    assert sum(count for _, count in moments) >= rate
    assert max(count for _, count in moments) <= rate // 8
    assert all(later[0] >= sooner[0] for sooner, later in pairwise(moments))

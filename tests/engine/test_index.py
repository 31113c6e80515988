"""The index: what objects say is taken only if it can be true, a saved table only if it is the one that was saved,
and ten million blobs fit into memory."""

from __future__ import annotations

import gc
import json
import os
import resource
import struct
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine.blob import BlobType
from backups.engine.crypto import Key
from backups.engine.errors import Corrupt
from backups.engine.index import Index
from backups.engine.index_file import IndexWriter, decode_index, encode_index
from backups.engine.pack import Entry, parse_header
from backups.engine.repository import Repository
from backups.engine.table import Table
from destinations.storage.memory import MemoryStore
from tests.engine import golden
from tests.engine.running import in_child

KEY = Key(bytes(range(32)), bytes(range(0x20, 0x30)), bytes(range(0x30, 0x40)))


def name(number: int) -> bytes:
    return sha256(b"%d" % number).digest()


def header_of(entries: list[Entry]) -> bytes:
    return b"".join(
        struct.pack("<BII32s", e.kind + 2, e.length, e.plain_size, e.id)
        if e.plain_size
        else struct.pack("<BI32s", e.kind, e.length, e.id)
        for e in entries
    )


# ---------------------------------------------------------------------- index objects


def test_the_golden_index_is_read() -> None:
    repository = Repository.open(MemoryStore(golden.golden_objects()), golden.PASSWORD)
    repository.load_index()
    found = {
        blob_id.hex(): (kind, place.offset, place.length, place.plain_size)
        for kind, blob_id, place in repository.index.items()
    }
    assert found[golden.HELLO] == (BlobType.DATA, 0, 49, 0)
    assert found[golden.COMPRESSED] == (BlobType.DATA, 49, 61, 480)
    assert found[golden.TREE][0] == BlobType.TREE
    assert len(found) == 3


def test_an_index_object_is_spelled_as_every_program_does() -> None:
    entries = [Entry(BlobType.DATA, name(1), 0, 49, 0), Entry(BlobType.TREE, name(2), 49, 61, 480)]
    payload = encode_index([("ab" * 32, entries)])
    assert payload == (
        b'{"packs":[{"id":"%b","blobs":[{"id":"%b","type":"data","offset":0,"length":49},'
        b'{"id":"%b","type":"tree","offset":49,"length":61,"uncompressed_length":480}]}]}\n'
        % (b"ab" * 32, name(1).hex().encode(), name(2).hex().encode())
    )
    assert decode_index(payload) == [(bytes.fromhex("ab" * 32), entries)]
    assert decode_index(encode_index([])) == []


def _object(**changed: Any) -> bytes:
    blob = {"id": name(1).hex(), "type": "data", "offset": 0, "length": 40} | changed
    pack = {"id": changed.pop("pack", "ab" * 32), "blobs": [{k: v for k, v in blob.items() if k != "pack"}]}
    return json.dumps({"packs": [pack]}).encode()


BAD = {
    "a length below an envelope": _object(length=31),
    "no length": _object(length=0),
    "a negative length": _object(length=-40),
    "a negative offset": _object(offset=-1),
    "past the end of any pack": _object(offset=2**32 - 40),
    "far past the end": _object(offset=2**70),
    "a length of its own weight": _object(length=2**40),
    "an impossible size": _object(uncompressed_length=2**32),
    "a negative size": _object(uncompressed_length=-1),
    "a fraction": _object(length=40.5),
    "an unknown type": _object(type="junk"),
    "a short id": _object(id="ab"),
    "an id that is none": _object(id="zz" * 32),
    "a long id": _object(id="ab" * 33),
    "a pack that is none": _object(pack="zz" * 32),
    "a pack of another folder": _object(pack="../" + "a" * 61),
    "upper case": _object(pack="AB" * 32),
    "no packs": b"{}",
    "packs of nothing": b'{"packs":null}',
    "an array": b'[{"id":"x"}]',
    "nothing": b"",
    "not text": b'{"packs":[{"id":"\xff"}]}',
    "very deep": b'{"packs":' + b"[" * 100_000,
}


@pytest.mark.parametrize("what", BAD)
def test_an_index_no_writer_makes_is_damage(what: str) -> None:
    with pytest.raises(Corrupt):
        decode_index(BAD[what])


def test_unknown_fields_and_what_older_writers_left_are_no_harm() -> None:
    payload = json.loads(_object()) | {"supersedes": ["cd" * 32], "future": {"x": [1]}}
    payload["packs"][0]["more"] = 1
    assert len(decode_index(json.dumps(payload).encode())) == 1


def test_blobs_come_in_the_order_of_the_pack() -> None:
    entries = [Entry(BlobType.DATA, name(n), 40 * n, 40, 0) for n in range(5)]
    payload = encode_index([("ab" * 32, entries[::-1])])
    assert decode_index(payload)[0][1] == entries


# ---------------------------------------------------------------------- what is known


def test_the_same_bytes_as_data_and_as_tree_are_two_blobs() -> None:
    for rebuild_at in (0, 1000):
        index = Index(rebuild_at=rebuild_at)
        index.add(name(100), [Entry(BlobType.DATA, name(1), 0, 40, 0)])
        index.add(name(101), [Entry(BlobType.TREE, name(1), 7, 50, 9)])
        data, tree = index.find(BlobType.DATA, name(1)), index.find(BlobType.TREE, name(1))
        assert data is not None and tree is not None
        assert (data.pack, data.offset, data.length, data.plain_size) == (0, 0, 40, 0)
        assert (tree.pack, tree.offset, tree.length, tree.plain_size) == (1, 7, 50, 9)
        assert not index.has(BlobType.TREE, name(2))


@pytest.mark.parametrize("rebuild_at", [0, 1000])
def test_a_blob_is_known_while_one_of_its_packs_is_there(rebuild_at: int) -> None:
    index = Index(rebuild_at=rebuild_at)
    for pack in (100, 101):
        index.add(name(pack), [Entry(BlobType.DATA, name(1), 0, 40, 0), Entry(BlobType.DATA, name(pack), 40, 40, 0)])
    assert len(list(index.find_all(BlobType.DATA, name(1)))) == 2
    index.excluded = {0}
    assert [place.pack for place in index.find_all(BlobType.DATA, name(1))] == [1]
    assert index.has(BlobType.DATA, name(1))
    assert not index.has(BlobType.DATA, name(100))
    assert not index.tester()(BlobType.DATA, name(100))
    index.excluded = {0, 1}
    assert not index.has(BlobType.DATA, name(1))
    assert index.find(BlobType.DATA, name(1)) is None


def test_a_pack_is_taken_once() -> None:
    index = Index()
    entries = [Entry(BlobType.DATA, name(1), 0, 40, 0)]
    assert index.add(name(100), entries)
    assert not index.add(name(100), header_of(entries))
    assert len(index) == 1
    assert index.number(name(100)) == 0
    assert index.number(name(101)) is None


@given(st.sets(st.integers(0, 400), min_size=1), st.integers(0, 50))
def test_the_quick_test_agrees_with_the_slow_one(numbers: set[int], rebuild_at: int) -> None:
    index = Index(rebuild_at=rebuild_at)
    for number in numbers:
        index.add(name(1000 + number), [Entry(BlobType(number % 2), name(number), 0, 40, number)])
    has = index.tester()
    for number in range(401):
        for kind in BlobType:
            assert (
                has(kind, name(number)) == index.has(kind, name(number)) == (number in numbers and kind == number % 2)
            )


def test_ids_that_share_their_beginning_are_told_apart() -> None:
    """They stand side by side in one bucket of the table."""
    ids = [b"\0" * 31 + bytes([last]) for last in range(200)]
    index = Index(rebuild_at=0)
    index.add(name(1), [Entry(BlobType.DATA, blob_id, 40 * n, 40, 0) for n, blob_id in enumerate(ids)])
    for number, blob_id in enumerate(ids):
        place = index.find(BlobType.DATA, blob_id)
        assert place is not None
        assert place.offset == 40 * number
    assert index.find(BlobType.DATA, b"\0" * 31 + b"\xff") is None


def test_an_id_that_stands_across_two_records_is_not_found() -> None:
    """A look-up is a search for bytes; only a match at the beginning of a record counts."""
    first = b"\x11" * 32
    tail = struct.pack(">IIII", 0x11111111, 0x11111111, 0x11111111, 0x11111111)
    records = first + tail + b"\x11" * 31 + b"\x12" + tail
    table = Table.build([records], [])
    assert table.find(0, b"\x11" * 31 + b"\x12") == 1
    assert table.find(0, first) == 0
    assert not table.has(0, b"\x11" * 30 + b"\x12\x11")


# ---------------------------------------------------------------------- the saved table


def small_table() -> Table:
    index = Index(rebuild_at=0)
    for pack in range(3):
        index.add(name(100 + pack), [Entry(BlobType(pack % 2), name(10 * pack + n), 40 * n, 40, n) for n in range(4)])
    return index.compact()


def _contents(table: Table) -> list[tuple[object, ...]]:
    return [(*table.key(n), table.packs[table.location(n).pack], *table.location(n)[1:]) for n in range(table.count)]


def test_a_saved_table_is_the_same_mapped(tmp_path: Path) -> None:
    table = small_table()
    table.save(tmp_path / "below" / "index.table", KEY, ["ab" * 32, "cd" * 32])
    loaded = Table.load(tmp_path / "below" / "index.table", KEY)
    assert loaded is not None
    again, ids = loaded
    assert ids == {"ab" * 32, "cd" * 32}
    assert again.is_mapped
    assert _contents(again) == _contents(table)
    for number in range(table.count):
        assert again.find(*table.key(number)) == number
    assert oct((tmp_path / "below" / "index.table").stat().st_mode)[-3:] == "600"
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["index.table"]


def test_a_table_with_any_changed_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table"
    small_table().save(path, KEY, ["ab" * 32])
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x40
        path.write_bytes(changed)
        assert Table.load(path, KEY) is None, place


def test_a_table_cut_lengthened_or_of_another_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table"
    small_table().save(path, KEY, ["ab" * 32])
    whole = path.read_bytes()
    for changed in (b"", b"x", whole[:-1], whole[1:], whole + b"\0", whole[:100], whole[-100:], whole * 2):
        path.write_bytes(changed)
        assert Table.load(path, KEY) is None
    path.write_bytes(whole)
    assert Table.load(path, Key.generate()) is None
    assert Table.load(path, KEY) is not None
    assert Table.load(tmp_path / "missing", KEY) is None
    assert Table.load(tmp_path, KEY) is None


def test_a_failed_save_leaves_the_old_table(tmp_path: Path) -> None:
    path = tmp_path / "table"
    small_table().save(path, KEY, ["ab" * 32])
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def work() -> bool:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
        with pytest.raises(OSError):
            small_table().save(path, KEY, ["cd" * 32])
        return True

    assert in_child(work)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["table"]


# ---------------------------------------------------------------------- how much memory


def _many(count: int, a_pack: int) -> Iterator[tuple[bytes, bytes]]:
    """Headers of packs with so many blobs in all."""
    for pack in range(count // a_pack):
        ids = (sha256(struct.pack("<QQ", pack, number)).digest() for number in range(a_pack))
        yield (
            sha256(struct.pack("<Q", pack)).digest(),
            b"".join(struct.pack("<BII32s", 2, 1000, 2000, blob_id) for blob_id in ids),
        )


def _resident() -> int:
    gc.collect()
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_million_blobs_take_at_most_64_bytes_each() -> None:
    count = 1_000_000

    def work() -> tuple[int, int, float]:
        index = Index()
        before = _resident()
        for pack_id, header in _many(count, 500):
            index.add(pack_id, header)
        index.settle()
        took = _resident() - before
        began = time.process_time()
        for number in range(10_000):
            assert index.has(BlobType.DATA, sha256(struct.pack("<QQ", number % 2000, number % 500)).digest())
        return len(index), took, time.process_time() - began

    found, taken, seconds = in_child(work)
    assert found == count
    assert taken <= 64 * count, f"{taken / count:.1f} bytes a blob"
    assert seconds < 2


# ---------------------------------------------------------------------- writing


def test_an_index_object_is_saved_when_there_is_enough_for_one() -> None:
    saved: list[bytes] = []

    def save(payload: bytes) -> str:
        saved.append(payload)
        return f"{len(saved):064x}"

    writer = IndexWriter(save, full=10)
    packs = {
        f"{n:064x}": header_of([Entry(BlobType.DATA, name(10 * n + m), 40 * m, 40, 50) for m in range(4)])
        for n in range(6)
    }
    for pack_id, header in packs.items():
        writer.add(pack_id, header)
    assert len(saved) == 3
    writer.flush()
    writer.flush()
    assert writer.saved == [f"{n:064x}" for n in range(1, len(saved) + 1)]
    found = {pack.hex(): entries for payload in saved for pack, entries in decode_index(payload)}
    assert found == {pack_id: parse_header(header) for pack_id, header in packs.items()}

"""Packs: the header says what is in the file, and nothing a header can say is believed against the file."""

from __future__ import annotations

import random
import resource
import struct
import time
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine.blob import BlobType, Codec, open_blob, seal_blob
from backups.engine.crypto import OVERHEAD, Key
from backups.engine.errors import Corrupt
from backups.engine.pack import (
    EAGER,
    FIXED,
    MAX_HEADER,
    MIN_FILE,
    TRAILER,
    Entry,
    PackBuilder,
    entry_size,
    file_size,
    header_length,
    open_header,
    parse_header,
)
from tests.engine import golden
from tests.engine.running import in_child

KEY = Key(bytes(range(32)), bytes(range(0x20, 0x30)), bytes(range(0x30, 0x40)))


def build(plains: list[bytes], kind: BlobType = BlobType.DATA, level: int | None = 3) -> tuple[bytes, list[Entry]]:
    """A pack of these blobs: its bytes, and the entries it must have."""
    builder = PackBuilder(kind)
    entries, offset, stored = [], 0, 0
    for plain in plains:
        sealed, packed = seal_blob(KEY, Codec(level), kind, plain)
        name = sha256(plain).digest()
        stored += builder.add(name, sealed, packed)
        entries.append(Entry(kind, name, offset, len(sealed), packed))
        offset += len(sealed)
    pack = builder.finish(KEY)
    whole = b"".join(pack.parts)
    assert pack.id == sha256(whole).hexdigest()
    assert pack.size == len(whole) == stored + FIXED
    return whole, entries


def read_header(whole: bytes) -> list[Entry]:
    """As a reader does: the length from the end, then the header."""
    length = header_length(whole[-EAGER:], len(whole))
    return open_header(KEY, whole[len(whole) - length - TRAILER : len(whole) - TRAILER], len(whole))


plain_blobs = st.lists(st.one_of(st.binary(max_size=50), st.just(b"text " * 30)), min_size=1, max_size=20)


@given(plain_blobs, st.sampled_from(BlobType))
def test_the_header_says_what_was_put_in(plains: list[bytes], kind: BlobType) -> None:
    whole, entries = build(plains, kind)
    assert read_header(whole) == entries
    assert file_size(entries) == len(whole)
    for plain, entry in zip(plains, entries, strict=True):
        sealed = whole[entry.offset : entry.offset + entry.length]
        assert open_blob(KEY, sealed, entry.plain_size, entry.id) == plain


def test_the_golden_packs_are_read() -> None:
    packs = {key: value for key, value in golden.golden_objects().items() if key.startswith("data/")}
    found = {entry.id.hex(): entry for whole in packs.values() for entry in read_header(whole)}
    assert found[golden.HELLO] == Entry(BlobType.DATA, bytes.fromhex(golden.HELLO), 0, 49, 0)
    assert found[golden.COMPRESSED] == Entry(BlobType.DATA, bytes.fromhex(golden.COMPRESSED), 49, 61, 480)
    assert found[golden.TREE].kind == BlobType.TREE
    assert found[golden.TREE].plain_size == len(golden.TREE_JSON)


def test_the_golden_header_to_the_byte() -> None:
    header = bytes.fromhex("00" + "31000000" + golden.HELLO + "02" + "3d000000" + "e0010000" + golden.COMPRESSED)
    assert [(e.kind, e.offset, e.length, e.plain_size) for e in parse_header(header)] == [
        (0, 0, 49, 0),
        (0, 49, 61, 480),
    ]
    builder = PackBuilder(BlobType.DATA)
    builder.add(bytes.fromhex(golden.HELLO), bytes(49), 0)
    builder.add(bytes.fromhex(golden.COMPRESSED), bytes(61), 480)
    assert bytes(builder.header) == header


def test_every_flipped_byte_of_a_header_is_seen() -> None:
    whole, _ = build([b"one", b"two" * 50, b""])
    length = header_length(whole, len(whole))
    for place in range(len(whole) - length - TRAILER, len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x01
        with pytest.raises(Corrupt):
            read_header(bytes(changed))


@pytest.mark.parametrize("change", [-1, 1, -20, 1000])
def test_a_file_of_another_size_than_its_header_adds_up_to_is_damage(change: int) -> None:
    whole, _ = build([b"one", b"two" * 50])
    changed = whole[-change:] if change < 0 else bytes(change) + whole
    with pytest.raises(Corrupt):
        read_header(changed)


def _header(*entries: bytes) -> bytes:
    return b"".join(entries)


ID = bytes(range(32))
BAD_HEADERS = {
    "empty": b"",
    "unknown type": struct.pack("<BI32s", 4, 40, ID),
    "type 255": b"\xff" * 41,
    "cut in an entry": struct.pack("<BI32s", 0, 40, ID)[:-1],
    "cut in the second": struct.pack("<BI32s", 0, 40, ID) + b"\0",
    "shorter than an envelope": struct.pack("<BI32s", 0, OVERHEAD - 1, ID),
    "no length at all": struct.pack("<BI32s", 1, 0, ID),
    "compressed to nothing": struct.pack("<BII32s", 2, 40, 0, ID),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_a_header_no_writer_makes_is_damage(name: str) -> None:
    with pytest.raises(Corrupt):
        parse_header(BAD_HEADERS[name])
    sealed = KEY.seal(BAD_HEADERS[name])
    with pytest.raises(Corrupt):
        open_header(KEY, sealed, 1000)


@given(st.binary(max_size=200))
def test_any_bytes_are_entries_or_damage(header: bytes) -> None:
    try:
        entries = parse_header(header)
    except Corrupt:
        return
    assert sum(entry_size(entry.plain_size) for entry in entries) == len(header)


@pytest.mark.parametrize("length", [0, 1, OVERHEAD, OVERHEAD + 36, MAX_HEADER + 1, 2**31, 2**32 - 1])
def test_an_impossible_header_length_is_refused_before_anything_is_fetched(length: int) -> None:
    with pytest.raises(Corrupt):
        header_length(struct.pack("<I", length), 2**31)


def test_a_header_longer_than_the_file_is_refused() -> None:
    tail = struct.pack("<I", 100)
    assert header_length(tail, 104) == 100
    with pytest.raises(Corrupt):
        header_length(tail, 103)


@pytest.mark.parametrize("size", [0, 3, 4, MIN_FILE - 1])
def test_less_than_the_smallest_pack_is_damage(size: int) -> None:
    with pytest.raises(Corrupt):
        header_length(struct.pack("<I", OVERHEAD + 37), size)


def test_the_largest_header_is_read_in_bounded_time_and_memory() -> None:
    """Nobody needs the key to be hostile who was given it: sixteen megabytes of header are half a million entries."""
    count = (MAX_HEADER - OVERHEAD) // 37
    header = struct.pack("<BI32s", 0, OVERHEAD, ID) * count

    def work() -> tuple[int, float, int]:
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        entries = parse_header(header)
        took = time.process_time() - began
        return len(entries), took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    found, took, kilobytes = in_child(work)
    assert found == count
    assert took < 20
    assert kilobytes < 200 * 1024


def test_a_pack_is_full_at_its_size_or_when_its_header_is() -> None:
    builder = PackBuilder(BlobType.DATA)
    builder.add(ID, bytes(1000), 0)
    assert not builder.is_full(1001)
    assert builder.is_full(1000)
    builder.header = bytearray(MAX_HEADER - FIXED - 41)
    assert not builder.is_full(2000)
    builder.header.append(0)
    assert builder.is_full(2000)


def test_bad_memory_while_a_header_is_sealed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = PackBuilder(BlobType.DATA)
    builder.add(ID, bytes(100), 0)
    real = Key.seal
    monkeypatch.setattr(Key, "seal", lambda self, plain: real(self, plain[:-1] + b"\0"))
    with pytest.raises(Corrupt):
        builder.finish(KEY)


def test_the_name_is_the_hash_of_all_parts() -> None:
    rng = random.Random(3)
    whole, _ = build([rng.randbytes(rng.randrange(2000)) for _ in range(30)], level=None)
    again, _ = build([b"x"])
    assert sha256(whole).digest() != sha256(again).digest()

"""Cuts: the format's vectors, native and Python alike, and that an edit moves only the cuts around it."""

from __future__ import annotations

import functools
import os
import random
import struct
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from backups.engine import chunker
from backups.engine.chunker import (
    CUT_MASK,
    MAX_SIZE,
    MIN_SIZE,
    WINDOW,
    Chunker,
    FindCut,
    find_cut_python,
    is_irreducible,
    make_tables,
    random_polynomial,
)
from backups.engine.errors import Corrupt
from tests.needs import missing

POLYNOMIAL = 0x3DA3358B4DC173
TABLES = make_tables(POLYNOMIAL)
MIB = 1024 * 1024


@functools.cache
def keystream(size: int) -> bytes:
    """The format's test stream: AES-256-CTR of zeros under a zero key."""
    return Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor().update(bytes(size))


def native() -> FindCut:
    if not chunker.is_native():
        missing("the native chunker was not built: no C compiler")
    return chunker.find_cut


def window_value(data: bytes) -> int:
    """The fingerprint by its definition: the window as a polynomial, modulo P."""
    value = int.from_bytes(data[-WINDOW:], "big")
    while value.bit_length() >= POLYNOMIAL.bit_length():
        value ^= POLYNOMIAL << (value.bit_length() - POLYNOMIAL.bit_length())
    return value


def split(data: bytes, *, block: int = 0) -> list[bytes]:
    """Cut as the engine does, reading ``block`` bytes at a time."""
    cutter = Chunker(POLYNOMIAL)
    chunks: list[bytes] = []
    block = block or max(1, len(data))
    start = have = seen = 0
    while start < len(data):
        have = min(len(data), max(have, start) + block)
        while start < have:
            cut = cutter.next_cut(data, start, have, final=have == len(data), seen=seen)
            if cut < 0:
                seen = have
                break
            chunks.append(data[start:cut])
            start = seen = cut
    return chunks


# ---------------------------------------------------------------------- the format's vectors


def test_the_tables_are_the_format_s() -> None:
    values = struct.unpack("=513Q", TABLES)
    assert values[512] == 45
    assert [values[number] for number in (1, 2, 255)] == [0x17EB4232E19216, 0x1275B1EE8EE55F, 0xB80B98CECC39A]
    assert [values[256 + number] for number in (1, 2, 255)] == [0x3DA3358B4DC173, 0x46E55E9DD64395, 0x1FF7AC8A5AF476A7]


@pytest.mark.parametrize(
    ("window", "value"),
    [
        (bytes(range(64)), 0x44B76CAC5CEE3),
        (b"\x01" * 64, 0x182BCD15979498),
        (bytes(64), 0),
        (b"\xff" * 64, 0x6D9879D4C4D97),
    ],
)
def test_fingerprints_of_a_window(window: bytes, value: int) -> None:
    assert window_value(window) == value


def test_the_test_stream_is_the_format_s() -> None:
    assert keystream(16).hex() == "dc95c078a2408989ad48a21492842087"
    assert sha256(keystream(16 * MIB)).hexdigest() == "2ed49096a2b822e24f0c7b3bb3ca9c1d3e525f0dbe2f2c62ee2c2cdd630171f9"


VECTORS: dict[str, tuple[bytes, list[tuple[int, str]]]] = {
    "16 MiB of the stream": (
        keystream(16 * MIB),
        [
            (551133, "3ce030d97b29f48d"),
            (640712, "074630d6b7216556"),
            (2766582, "a89379ee810e0b92"),
            (898583, "2a4a7a1c8e43abee"),
            (2782732, "691f4c7c442a3d1a"),
            (2263350, "cb9cbc8f9fe34b2a"),
            (531615, "d7545cf76e2dd78f"),
            (1191198, "c8f0bc8854e554d0"),
            (3039727, "618b3ab416c6c9d0"),
            (2111584, "ec92c95be9840a99"),
        ],
    ),
    "20 MiB of ones": (
        b"\x01" * (20 * MIB),
        [(8388608, "bb929bbdce85fdbc"), (8388608, "bb929bbdce85fdbc"), (4194304, "5d2bafc266e711ed")],
    ),
    "8 MiB of ones": (b"\x01" * (8 * MIB), [(8388608, "bb929bbdce85fdbc")]),
    "zeros": (bytes(2 * MIB + 5), [(524288, "07854d2fef297a06")] * 4 + [(5, "8855508aade16ec5")]),
    "stream, then zeros": (
        keystream(1_000_000) + bytes(3_000_000),
        [
            (551133, "3ce030d97b29f48d"),
            (524288, "68eb0f0ea492b6e7"),
            *[(524288, "07854d2fef297a06")] * 5,
            (303139, "14e53deb494a786c"),
        ],
    ),
    "as much as the smallest chunk": (keystream(524288), [(524288, "795104923652506a")]),
    "a byte more": (keystream(524289), [(524289, "429b947a4670b9b5")]),
    "nothing": (b"", []),
    "one byte": (b"x", [(1, sha256(b"x").hexdigest()[:16])]),
}


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("block", [0, 8 * MIB, 700_001])
def test_vectors_of_the_format(name: str, block: int) -> None:
    native()
    data, expected = VECTORS[name]
    assert [(len(chunk), sha256(chunk).hexdigest()[:16]) for chunk in split(data, block=block)] == expected


def test_the_cuts_of_the_stream_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pure Python takes seconds a megabyte: only the places around two cuts."""
    data = keystream(16 * MIB)
    assert find_cut_python(TABLES, data, 551133 - 3000, 551133 + 10, CUT_MASK) == 551133
    second = 551133 + 640712
    assert find_cut_python(TABLES, data, second - 3000, second + 10, CUT_MASK) == second


# ---------------------------------------------------------------------- native and Python alike


@given(
    st.one_of(
        st.binary(min_size=WINDOW, max_size=400),
        st.builds(lambda seed, size: random.Random(seed).randbytes(size), st.integers(0, 999), st.integers(64, 3000)),
        st.builds(lambda byte, size: bytes([byte]) * size, st.integers(0, 255), st.integers(64, 600)),
    ),
    st.integers(0, 500),
    st.integers(0, 3000),
    st.sampled_from([0, 1, 7, 31, 255, CUT_MASK]),
    st.sampled_from([POLYNOMIAL, 0x25B468838DCB75]),
)
def test_native_and_python_find_the_same(data: bytes, first: int, length: int, mask: int, polynomial: int) -> None:
    tables = make_tables(polynomial)
    first = min(WINDOW + first, len(data))
    last = min(first + length, len(data))
    found = native()(tables, data, first, last, mask)
    assert found == find_cut_python(tables, data, first, last, mask)
    assert native()(tables, memoryview(bytearray(data)), first, last, mask) == found
    if found >= 0 and polynomial == POLYNOMIAL:
        assert window_value(data[:found]) & mask == 0
        assert all(window_value(data[:place]) & mask for place in range(first, found))


@pytest.mark.parametrize("finder", ["native", "python"])
@pytest.mark.parametrize("mask", [31, 255])
def test_found_is_the_first_place_by_definition(finder: str, mask: int) -> None:
    find = native() if finder == "native" else find_cut_python
    data = random.Random(6).randbytes(3000)
    expected = next(place for place in range(100, 3001) if not window_value(data[:place]) & mask)
    assert find(TABLES, data, 100, 3000, mask) == expected
    assert find(TABLES, data, 100, expected - 1, mask) == -1
    assert find(TABLES, data, expected, 3000, mask) == expected


@pytest.mark.parametrize(
    ("first", "last"), [(0, 100), (63, 100), (64, 101), (-1, 50), (101, 101), (100, 10**12), (90, 80)]
)
def test_places_outside_the_data_never_reach_memory(first: int, last: int) -> None:
    """The native loop checks its bounds itself, whatever Python gives it."""
    with pytest.raises(ValueError):
        native()(TABLES, b"x" * 100, first, last, CUT_MASK)


@pytest.mark.parametrize("tables", [b"", TABLES[:-1], TABLES + b"\0", TABLES[:100]])
def test_tables_of_a_wrong_size_are_refused(tables: bytes) -> None:
    with pytest.raises(ValueError):
        native()(tables, b"x" * 1000, 64, 1000, CUT_MASK)


def test_the_engine_cuts_the_same_without_the_native_part() -> None:
    program = (
        "import sys, warnings\n"
        "from backups.engine import chunker\n"
        "assert not chunker.is_native()\n"
        "cutter = chunker.Chunker(0x3DA3358B4DC173)\n"
        "data = bytes(600_000)\n"
        "print(cutter.next_cut(data, 0, len(data), final=True))\n"
    )
    root = Path(chunker.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HOLDFAST_CHUNKER": "python", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "524288"


# ---------------------------------------------------------------------- properties


small_cuts = st.builds(
    lambda seed, size: random.Random(seed).randbytes(size), st.integers(0, 10**6), st.integers(0, 60_000)
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a kilobyte or so, by the same code."""
    monkeypatch.setattr(chunker, "MIN_SIZE", 512)
    monkeypatch.setattr(chunker, "MAX_SIZE", 8192)
    monkeypatch.setattr(chunker, "CUT_MASK", (1 << 10) - 1)


@pytest.mark.usefixtures("small")
class TestSmallChunks:
    """The sizes are the same for all examples of a test."""

    @given(small_cuts, st.integers(1, 9000))
    def test_joined_chunks_are_the_data_whatever_the_reads(self, data: bytes, block: int) -> None:
        chunks = split(data)
        assert b"".join(chunks) == data
        assert all(512 <= len(chunk) <= 8192 for chunk in chunks[:-1])
        assert not data or 1 <= len(chunks[-1]) <= 8192
        assert split(data, block=block) == chunks

    @given(small_cuts, st.integers(0, 10**6), st.binary(max_size=200), st.integers(0, 200))
    def test_an_edit_changes_only_chunks_around_it(self, data: bytes, place: int, new: bytes, gone: int) -> None:
        place %= len(data) + 1
        edited = data[:place] + new + data[place + gone :]
        before, after = split(data), split(edited)
        same_head = _common(before, after)
        # A chunk that ends before the edit stays; so does every one after the first shared cut behind it.
        ends = [sum(map(len, before[:count])) for count in range(len(before) + 1)]
        untouched = sum(1 for end in ends[1:-1] if end <= place)
        assert same_head >= untouched
        tail_before, tail_after = before[::-1], after[::-1]
        shared = _common(tail_before, tail_after)
        rest = before[same_head : len(before) - shared]
        assert sum(map(len, rest)) <= gone + len(new) + 20 * 8192


def _common(one: list[bytes], other: list[bytes]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def test_an_edit_of_a_large_file_stores_little_anew() -> None:
    native()
    data = keystream(16 * MIB)
    known = {sha256(chunk).digest() for chunk in split(data)}
    for place in (0, 5_000_000, 9_999_999, 16 * MIB):
        edited = data[:place] + b"inserted" + data[place:]
        new = [chunk for chunk in split(edited) if sha256(chunk).digest() not in known]
        assert sum(map(len, new)) < 4 * MIB


# ---------------------------------------------------------------------- polynomials


def test_irreducible_polynomials_are_told_from_others() -> None:
    assert is_irreducible(0x3DA3358B4DC173)
    assert is_irreducible(0x25B468838DCB75)
    assert not is_irreducible(0x3DA3358B4DC171)
    assert not is_irreducible(0x20000000000001)
    small = [p for p in range(2, 64) if is_irreducible(p)]
    assert small == [
        p for p in range(2, 64) if all(_remainder(p, d) for d in range(2, p) if d.bit_length() < p.bit_length())
    ]


def _remainder(value: int, divisor: int) -> int:
    while value.bit_length() >= divisor.bit_length():
        value ^= divisor << (value.bit_length() - divisor.bit_length())
    return value


def test_fresh_polynomials_are_of_the_right_degree_and_differ() -> None:
    found = {random_polynomial() for _ in range(5)}
    assert len(found) == 5
    for polynomial in found:
        assert polynomial.bit_length() == 54
        assert polynomial & 1
        assert is_irreducible(polynomial)


@pytest.mark.parametrize(
    "polynomial",
    [0, 1, 2, 3, 0x3DA3358B4DC171, 0x20000000000001, 1 << 53, 0x7DA3358B4DC173, 1 << 63, -0x3DA3358B4DC173],
)
def test_a_polynomial_that_does_not_fit_the_format_is_refused(polynomial: int) -> None:
    with pytest.raises(Corrupt):
        Chunker(polynomial)


def test_sizes_are_the_format_s() -> None:
    assert (MIN_SIZE, MAX_SIZE, WINDOW, CUT_MASK) == (524288, 8388608, 64, 0xFFFFF)

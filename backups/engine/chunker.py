"""Where content is cut: Rabin fingerprints over a 64-byte window, as the format defines them.

A cut after ``n`` bytes of a chunk needs the low 20 bits of the fingerprint of the last 64 bytes to be
zero and ``MIN_SIZE <= n <= MAX_SIZE``; so a cut is a property of the position, and the first
``MIN_SIZE - 64`` bytes of a chunk never matter.  The inner loop is native where it could be built;
the same loop in Python stands beside it as reference and fallback.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from functools import lru_cache

from backups.engine.crypto import Buffer
from backups.engine.errors import Corrupt
from backups.engine.native import load

MIN_SIZE = 512 * 1024
MAX_SIZE = 8 * 1024 * 1024
WINDOW = 64
CUT_MASK = (1 << 20) - 1
DEGREE = 53

FindCut = Callable[[bytes, Buffer, int, int, int], int]


def _degree(poly: int) -> int:
    return poly.bit_length() - 1


def _mod(value: int, poly: int) -> int:
    degree = _degree(poly)
    while (excess := _degree(value) - degree) >= 0 and value:
        value ^= poly << excess
    return value


def _mul_mod(a: int, b: int, poly: int) -> int:
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        b >>= 1
    return _mod(product, poly)


def _gcd(a: int, b: int) -> int:
    while b:
        a, b = b, _mod(a, b)
    return a


def is_irreducible(poly: int) -> bool:
    """Tell whether a polynomial over GF(2), given as bits, has no proper factor (Ben-Or's test)."""
    degree = _degree(poly)
    if degree < 1 or poly < 0:
        return False
    power = 2
    for _ in range(degree // 2):
        power = _mul_mod(power, power, poly)
        if _gcd(poly, power ^ 2) != 1:
            return False
    return True


def random_polynomial() -> int:
    """Return a fresh irreducible polynomial of degree 53; secret per repository."""
    while True:
        poly = int.from_bytes(os.urandom(8), "little") & ((1 << 54) - 1) | (1 << DEGREE) | 1
        if is_irreducible(poly):
            return poly


def _spread(bits: list[int]) -> list[int]:
    """Return what 256 bytes stand for, from what their eight bits do: over GF(2) the parts just add up."""
    table = [0] * 256
    for byte in range(1, 256):
        lowest = byte & -byte
        table[byte] = table[byte ^ lowest] ^ bits[lowest.bit_length() - 1]
    return table


@lru_cache(maxsize=8)
def make_tables(poly: int) -> bytes:
    """Return the two 256-entry tables (window exit, reduction) as native-endian u64."""
    degree = _degree(poly)
    leaving = _spread([_mod(1 << bit << (8 * (WINDOW - 1)), poly) for bit in range(8)])
    reduce = _spread([_mod(1 << bit << degree, poly) | (1 << bit << degree) for bit in range(8)])
    return struct.pack("=512Q", *leaving, *reduce) + struct.pack("=Q", degree - 8)


def find_cut_python(tables: bytes, data: Buffer, first: int, last: int, mask: int) -> int:
    """Return the first position p in first..last where the fingerprint of data[p-64:p] ends in zeros, or -1."""
    values = struct.unpack_from("=513Q", tables)
    leaving, reduce, shift = values[:256], values[256:512], values[512]
    digest = 0
    for byte in data[first - WINDOW : first]:
        digest = ((digest << 8) | byte) ^ reduce[digest >> shift]
    position = first
    while digest & mask:
        if position >= last:
            return -1
        digest ^= leaving[data[position - WINDOW]]
        digest = ((digest << 8) | data[position]) ^ reduce[digest >> shift]
        position += 1
    return position


find_cut: FindCut = getattr(load("backups.engine._chunker"), "find_cut", find_cut_python)


def is_native() -> bool:
    """Tell whether the compiled loop is in use; without it cutting is about a hundred times slower."""
    return find_cut is not find_cut_python


class Chunker:
    """Cuts byte streams for one repository.  Raises Corrupt if ``polynomial`` is not one the format allows."""

    __slots__ = ("_tables", "polynomial")

    def __init__(self, polynomial: int) -> None:
        if not WINDOW // 8 < _degree(polynomial) <= DEGREE or not is_irreducible(polynomial):
            raise Corrupt("the chunker polynomial is not irreducible", kind="config")
        self.polynomial = polynomial
        self._tables = make_tables(polynomial)

    def next_cut(self, data: Buffer, start: int, stop: int, *, final: bool, seen: int = 0) -> int:
        """Return where the chunk that begins at ``start`` ends, looking at ``data[:stop]``.

        ``final`` says that no byte follows ``stop``.  Returns -1 when more data is needed to tell; the next
        call may pass the present ``stop`` as ``seen``, up to where no cut was found.  Offsets in bytes; start < stop.
        """
        limit = start + MAX_SIZE
        first, last = max(start + MIN_SIZE, seen + 1), min(stop, limit)
        if first <= last:
            cut = find_cut(self._tables, data, first, last, CUT_MASK)
            if cut >= 0:
                return cut
        if stop >= limit:
            return limit
        return stop if final else -1

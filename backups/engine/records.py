"""The records that a table of blobs consists of: 48 bytes each, id, pack, offset, length, plaintext length."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Mapping
from itertools import compress
from operator import itemgetter
from typing import NamedTuple

from backups.engine.pack import Entry, parse_header

RECORD = 48
TREE = 1 << 31
"""Set in the pack's number of a record that is a tree's."""
TAIL = struct.Struct(">IIII")
WHOLE = struct.Struct(">32sIIII")
_UNIFORM = struct.Struct("<BII32s")
RECORDS = struct.Struct("48s")
STRIDE, _TAG_WORD = RECORD // 4, 8
"""Of the native words that a record is: how many, and which one holds the pack's number."""


class Location(NamedTuple):
    """Where a blob lies.  ``pack`` is a number of this index; lengths in bytes, ``plain_size`` 0 if not compressed."""

    pack: int
    offset: int
    length: int
    plain_size: int


def records_of(number: int, content: bytes | list[Entry]) -> bytes:
    """Return the records of one pack's blobs."""
    pack = TAIL.pack
    if isinstance(content, bytes):
        tag = content[0] if content else 0
        if tag >= 2 and len(content) % 41 == 0 and content[::41].count(tag) == len(content) // 41:
            number |= TREE if tag == 3 else 0
            out = []
            offset = 0
            for _, length, plain_size, blob_id in _UNIFORM.iter_unpack(content):
                out.append(blob_id + pack(number, offset, length, plain_size))
                offset += length
            return b"".join(out)
        content = parse_header(content)
    return b"".join(e.id + pack(number | (TREE if e.kind else 0), e.offset, e.length, e.plain_size) for e in content)


def native_tags(packs: Iterable[int]) -> set[int]:
    """Return how the numbers of packs stand in records, read as native words though they are big-endian."""
    return {int.from_bytes((number | bit).to_bytes(4, "big"), sys.byteorder) for number in packs for bit in (0, TREE)}


def of_packs(records: bytes, tags: set[int]) -> bytes:
    """Return those records whose packs have these native tags, in their order."""
    words = memoryview(records).cast("I")[_TAG_WORD::STRIDE].tolist()
    return b"".join(map(itemgetter(0), compress(RECORDS.iter_unpack(records), map(tags.__contains__, words))))


def renumbered(records: bytes, numbers: Mapping[int, int]) -> bytes:
    """Return records with other numbers for their packs."""
    pack = WHOLE.pack
    return b"".join(
        pack(blob_id, numbers[tag & ~TREE] | tag & TREE, *rest) for blob_id, tag, *rest in WHOLE.iter_unpack(records)
    )

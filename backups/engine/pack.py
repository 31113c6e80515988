"""Pack files: sealed blobs one after the other, a sealed header that lists them, and its length.

``file = blobs || envelope(header) || u32le(length of the envelope)``; the name is the SHA-256 of all of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from backups.engine.blob import BlobType
from backups.engine.crypto import OVERHEAD, Key
from backups.engine.errors import Corrupt

DEFAULT_PACK_SIZE = 16 * 1024 * 1024
MIN_PACK_SIZE = 4 * 1024 * 1024
MAX_PACK_SIZE = 128 * 1024 * 1024
MAX_HEADER = 16 * 1024 * 1024
TRAILER = 4
_KINDS = (BlobType.DATA, BlobType.TREE)
FIXED = OVERHEAD + TRAILER
"""Bytes of a pack that belong to no blob and no entry."""
ENTRY_PLAIN = 37
ENTRY_PACKED = 41
MIN_FILE = ENTRY_PLAIN + FIXED
EAGER = FIXED + 15 * ENTRY_PACKED
"""Bytes read from the end at first: enough for the header of fifteen blobs."""

_LONGEST_HEADER = MAX_HEADER - ENTRY_PACKED - FIXED
_PLAIN = struct.Struct("<BI32s")
_PACKED = struct.Struct("<BII32s")
_U32 = struct.Struct("<I")


class Entry(NamedTuple):
    """One blob of a pack.  ``length`` is the sealed length, ``plain_size`` 0 when it is not compressed."""

    kind: BlobType
    id: bytes
    offset: int
    length: int
    plain_size: int


class FinishedPack(NamedTuple):
    """A pack ready to be stored: its id, its parts in order, its size, and its header in plain."""

    id: str
    parts: list[bytes]
    size: int
    header: bytes


def entry_size(plain_size: int) -> int:
    """Return the bytes one entry takes in the header."""
    return ENTRY_PACKED if plain_size else ENTRY_PLAIN


def file_size(entries: Iterable[Entry]) -> int:
    """Return the size a pack of exactly these blobs must have, in bytes."""
    return FIXED + sum(entry.length + entry_size(entry.plain_size) for entry in entries)


@dataclass(slots=True)
class PackBuilder:
    """Collects sealed blobs of one kind until the pack is full."""

    kind: BlobType
    parts: list[bytes] = field(default_factory=list)
    header: bytearray = field(default_factory=bytearray)
    size: int = 0

    def add(self, blob_id: bytes, sealed: bytes, plain_size: int) -> int:
        """Append a blob; return the bytes it takes in the pack, its header entry included."""
        length = len(sealed)
        if plain_size:
            entry = _PACKED.pack(self.kind + 2, length, plain_size, blob_id)
        else:
            entry = _PLAIN.pack(self.kind, length, blob_id)
        self.header += entry
        self.parts.append(sealed)
        self.size += length
        return length + len(entry)

    def is_full(self, target: int) -> bool:
        """Tell whether the pack has reached its target size, or its header the limit."""
        return self.size >= target or len(self.header) > _LONGEST_HEADER

    def finish(self, key: Key) -> FinishedPack:
        """Seal the header and name the pack."""
        header = bytes(self.header)
        sealed = key.seal(header)
        if key.open(sealed) != header:
            raise Corrupt("a sealed pack header does not open; the memory of this machine may be bad", kind="pack")
        parts = [*self.parts, sealed, _U32.pack(len(sealed))]
        digest = sha256()
        for part in parts:
            digest.update(part)
        return FinishedPack(digest.hexdigest(), parts, self.size + len(sealed) + TRAILER, header)


def parse_header(header: bytes) -> list[Entry]:
    """Decode a plain header; offsets follow from the lengths.  Raises Corrupt."""
    entries: list[Entry] = []
    position = offset = 0
    end = len(header)
    plain, packed, kinds, new, add = _PLAIN.unpack_from, _PACKED.unpack_from, _KINDS, tuple.__new__, entries.append
    while position < end:
        tag = header[position]
        try:
            if 2 <= tag <= 3:
                _, length, plain_size, blob_id = packed(header, position)
                position += ENTRY_PACKED
                if not plain_size:
                    raise Corrupt("a compressed entry of no length", kind="pack")
            elif tag <= 1:
                _, length, blob_id = plain(header, position)
                plain_size = 0
                position += ENTRY_PLAIN
            else:
                raise Corrupt(f"an entry of unknown type {tag}", kind="pack")
        except struct.error as error:
            raise Corrupt("a header that ends inside an entry", kind="pack") from error
        if length < OVERHEAD:
            raise Corrupt("an entry shorter than an envelope", kind="pack")
        add(new(Entry, (kinds[tag & 1], blob_id, offset, length, plain_size)))
        offset += length
    if not entries:
        raise Corrupt("a header without entries", kind="pack")
    return entries


def header_length(tail: bytes, pack_size: int) -> int:
    """Return the sealed header's length from the last bytes of a pack; Corrupt if it cannot be true."""
    if pack_size < MIN_FILE or len(tail) < TRAILER:
        raise Corrupt("shorter than the smallest pack", kind="pack")
    length: int = _U32.unpack(tail[-TRAILER:])[0]
    if length < OVERHEAD + ENTRY_PLAIN or length > MAX_HEADER or length + TRAILER > pack_size:
        raise Corrupt(f"a header length of {length} that cannot be true", kind="pack")
    return length


def open_header(key: Key, sealed: bytes, pack_size: int) -> list[Entry]:
    """Open and decode a sealed header and compare it with the file's size.  Raises Corrupt."""
    entries = parse_header(key.open(sealed))
    if file_size(entries) != pack_size:
        raise Corrupt("a header that does not add up to the size of the file", kind="pack")
    return entries

"""Pack by pack: how much of it is still needed.

Of a needed blob that is stored several times exactly one copy counts as used, if possible in a pack that is
kept anyway, so that the leftovers of a prune that was killed are recognised and not copied again.
"""

from __future__ import annotations

import struct

import msgspec

from backups.engine.pack import ENTRY_PACKED, ENTRY_PLAIN, FIXED
from backups.engine.records import RECORD, TREE
from backups.engine.usage import Usage

_PACK = TREE - 1
_LENGTHS = struct.Struct(">32xI4xII")
_DATA_KIND, _TREE_KIND = 1, 2


class Sum(msgspec.Struct):
    """A number of blobs and their stored bytes."""

    blobs: int = 0
    bytes: int = 0

    def add(self, blobs: int, size: int) -> None:
        """Add so many blobs of so many bytes in all."""
        self.blobs += blobs
        self.bytes += size


class PackUse(msgspec.Struct):
    """What the index says of one pack.  Sizes in bytes; ``used_size`` holds the header too."""

    kinds: int = 0
    blobs: int = 0
    packed_blobs: int = 0
    used_blobs: int = 0
    used_size: int = FIXED
    unused_size: int = 0
    duplicate_blobs: int = 0

    @property
    def unused_blobs(self) -> int:
        """Blobs nothing needs, or that are needed from another pack."""
        return self.blobs - self.used_blobs

    @property
    def size(self) -> int:
        """The size the pack's file must have."""
        return self.used_size + self.unused_size

    @property
    def is_mixed(self) -> bool:
        """Whether it holds data and trees."""
        return self.kinds == _DATA_KIND | _TREE_KIND

    @property
    def is_data(self) -> bool:
        """Whether it holds nothing but data."""
        return self.kinds == _DATA_KIND

    @property
    def is_tree(self) -> bool:
        """Whether it holds nothing but trees."""
        return self.kinds == _TREE_KIND

    @property
    def has_uncompressed(self) -> bool:
        """Whether any blob is stored as it is."""
        return self.packed_blobs != self.blobs


class Account(msgspec.Struct):
    """The packs by their number in the index, and sums over all of them.

    The marks of ``usage`` have become one for every record: 1 for the copy that is used.  ``groups`` are the
    records of each needed blob that is stored more than once.
    """

    usage: Usage
    packs: list[PackUse]
    groups: list[list[int]] = []
    used: Sum = msgspec.field(default_factory=Sum)
    unused: Sum = msgspec.field(default_factory=Sum)
    duplicate: Sum = msgspec.field(default_factory=Sum)


def account(usage: Usage, pack_count: int) -> Account:
    """Add up what is used in each of the index's packs.  The marks of ``usage`` are changed, see :class:`Account`."""
    result = Account(usage, [PackUse() for _ in range(pack_count)])
    result.groups = _count(usage, result.packs)
    for group in result.groups:
        _elect(usage, result.packs, group)
    for pack in result.packs:
        result.used.add(pack.used_blobs, pack.used_size - FIXED)
        pack.used_size += ENTRY_PLAIN * pack.blobs + (ENTRY_PACKED - ENTRY_PLAIN) * pack.packed_blobs
        result.unused.add(pack.unused_blobs, pack.unused_size)
    for group in result.groups:
        size = _tail(usage, group[0])[1]
        result.duplicate.add(len(group) - 1, size * (len(group) - 1))
    result.unused.add(-result.duplicate.blobs, -result.duplicate.bytes)
    return result


def _tail(usage: Usage, number: int) -> tuple[int, int, int]:
    """Return pack (with the tree bit), stored length and plaintext length of a record."""
    tag, length, plain_size = _LENGTHS.unpack_from(usage.table.records(), number * RECORD)
    return tag, length, plain_size


def _count(usage: Usage, packs: list[PackUse]) -> list[list[int]]:
    """Count every record; return the groups of records of blobs that are needed and stored several times.

    In a group every copy is counted as an unused duplicate at first.
    """
    records, count = usage.table.records(), usage.table.count
    groups: list[list[int]] = []
    used = -1
    with memoryview(usage.marks) as marks, memoryview(records) as view:
        for number, (tag, length, plain_size) in enumerate(_LENGTHS.iter_unpack(view[: count * RECORD])):
            pack = packs[tag & _PACK]
            pack.kinds |= 1 + (tag >> 31)
            pack.blobs += 1
            if plain_size:
                pack.packed_blobs += 1
            if marks[number]:
                used = number
                pack.used_blobs += 1
                pack.used_size += length
                continue
            pack.unused_size += length
            if used < 0:
                continue
            if _same_blob(view, used, number):
                if not groups or groups[-1][0] != used:
                    groups.append([used])
                groups[-1].append(number)
                pack.duplicate_blobs += 1
            else:
                used = -1
    for group in groups:
        tag, length, _ = _tail(usage, group[0])
        pack = packs[tag & _PACK]
        pack.used_blobs -= 1
        pack.used_size -= length
        pack.unused_size += length
        pack.duplicate_blobs += 1
    return groups


def _same_blob(records: memoryview, first: int, second: int) -> bool:
    a, b = first * RECORD, second * RECORD
    return records[a : a + 32] == records[b : b + 32] and records[a + 32] >> 7 == records[b + 32] >> 7


def _elect(usage: Usage, packs: list[PackUse], group: list[int]) -> None:
    """Choose the copy that counts: one beside other used blobs, or in a pack of nothing but copies; else the last."""
    chosen = group[-1]
    for number in group:
        pack = packs[_tail(usage, number)[0] & _PACK]
        if pack.used_blobs or pack.duplicate_blobs == pack.unused_blobs:
            chosen = number
            break
    usage.marks[group[0]] = 0
    usage.marks[chosen] = 1
    tag, length, _ = _tail(usage, chosen)
    pack = packs[tag & _PACK]
    pack.used_blobs += 1
    pack.used_size += length
    pack.unused_size -= length

"""One sorted table of records with a fan-out over the first bits of the id.

About 50 bytes a blob; a look-up is one ``find`` inside a few hundred bytes, and a table in a file is shared by every
process that maps it.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

import msgspec

from backups.engine.blob import BlobType
from backups.engine.crypto import Buffer, Key
from backups.engine.records import RECORD, RECORDS, STRIDE, TAIL, TREE, Location, native_tags, of_packs

_MAGIC = b"HFINDEX2"
_EMPTY_RECORDS = mmap.mmap(-1, 1)


class Table:
    """The sorted records of many blobs, read-only; in memory, or mapped from a file.

    ``packs`` are the 32-byte ids of the packs by number.
    """

    __slots__ = ("_bits", "_fan", "_find", "_records", "count", "is_mapped", "packs")

    def __init__(
        self, records: mmap.mmap, count: int, fan: memoryview, packs: list[bytes], *, is_mapped: bool = False
    ) -> None:
        self.is_mapped = is_mapped
        """Whether the records are those of a file."""
        self._records = records
        self._find = records.find
        self._fan = fan
        self._bits = 32 - ((len(fan) - 1).bit_length() - 1)
        self.count = count
        self.packs = packs

    @staticmethod
    def fan_bits(count: int) -> int:
        """Return how many bits of the id choose a bucket: about four records in each."""
        return max(1, min(24, (count // 4).bit_length()))

    @classmethod
    def build(cls, parts: Iterable[bytes], packs: list[bytes]) -> Table:
        """Sort records (joined in ``parts``, any order) into a table in memory.

        Takes 48 bytes a record above what ``parts`` holds while it is read; give an iterator that lets go of them.
        """
        return cls.changed(_EMPTY_RECORDS, 0, (), parts, packs)

    @classmethod
    def changed(
        cls, old: mmap.mmap, count: int, kept: Iterable[int], parts: Iterable[bytes], packs: list[bytes]
    ) -> Table:
        """Make a table of those of ``count`` sorted records whose packs are ``kept``, and of those in ``parts``.

        Old and new table are in memory at once; see :meth:`build`.
        """
        shelves = [bytearray() for _ in range(256)]
        for part in parts:
            for (record,) in RECORDS.iter_unpack(part):
                shelves[record[0]] += record
        tags = native_tags(kept)
        records = mmap.mmap(-1, max(1, count * RECORD + sum(map(len, shelves))))
        end = 0
        for number, shelf in enumerate(shelves):
            start, end = end, _shelf_end(old, count, number, end)
            stay = of_packs(old[start:end], tags)
            if shelf:
                shelf += stay
                records.write(b"".join(sorted(record for (record,) in RECORDS.iter_unpack(shelf))))
                shelves[number] = bytearray()
            else:
                records.write(stay)
        size = records.tell()
        records.resize(max(1, size))
        return cls(records, size // RECORD, _fan_of(records, size // RECORD), packs)

    def find(self, kind: int, blob_id: bytes) -> int:
        """Return the number of the first record of this blob, or -1."""
        bucket = int.from_bytes(blob_id[:4], "big") >> self._bits
        fan = self._fan
        position = fan[bucket] * RECORD
        end = fan[bucket + 1] * RECORD
        records = self._records
        while (position := self._find(blob_id, position, end)) >= 0:
            if position % RECORD == 0 and records[position + 32] >> 7 == kind:
                return position // RECORD
            position += 1
        return -1

    def has(self, kind: int, blob_id: bytes) -> bool:
        """Tell whether there is a record of this blob."""
        bucket = int.from_bytes(blob_id[:4], "big") >> self._bits
        fan = self._fan
        position = self._find(blob_id, fan[bucket] * RECORD, fan[bucket + 1] * RECORD)
        if position < 0:
            return False
        if position % RECORD == 0 and self._records[position + 32] >> 7 == kind:
            return True
        return self.find(kind, blob_id) >= 0

    def holds(self, kind: int, blob_id: bytes, place: tuple[int, int, int, int]) -> bool:
        """Tell whether there is a record of this blob at just this place."""
        pack, offset, length, plain_size = place
        record = blob_id + TAIL.pack(pack | TREE if kind else pack, offset, length, plain_size)
        bucket = int.from_bytes(blob_id[:4], "big") >> self._bits
        position, end = self._fan[bucket] * RECORD, self._fan[bucket + 1] * RECORD
        while (position := self._find(record, position, end)) >= 0:
            if position % RECORD == 0:
                return True
            position += 1
        return False

    def same(self, number: int) -> Iterator[int]:
        """Yield the numbers of all records of the blob whose first record is ``number``."""
        key = self._records[number * RECORD : number * RECORD + 33]
        while number < self.count:
            other = self._records[number * RECORD : number * RECORD + 33]
            if other[:32] != key[:32] or other[32] >> 7 != key[32] >> 7:
                return
            yield number
            number += 1

    def location(self, number: int) -> Location:
        """Return where the blob of a record lies."""
        pack, offset, length, plain_size = TAIL.unpack_from(self._records, number * RECORD + 32)
        return Location(pack & ~TREE, offset, length, plain_size)

    def key(self, number: int) -> tuple[BlobType, bytes]:
        """Return kind and id of a record."""
        at = number * RECORD
        record = self._records[at : at + 33]
        return BlobType(record[32] >> 7), record[:32]

    def records(self) -> mmap.mmap:
        """Return the buffer of all records."""
        return self._records

    def save(self, path: Path, key: Key, index_ids: Iterable[str]) -> None:
        """Write the table to a file that :meth:`load` accepts; under a temporary name first."""
        head = msgspec.json.encode(
            {"ids": sorted(index_ids), "packs": len(self.packs), "count": self.count, "fan": len(self._fan)}
        )
        # The records come first in the file's own order, so that a mapped file needs no offset arithmetic.
        with memoryview(self._records) as records:
            body: list[Buffer] = [
                records[: self.count * RECORD],
                self._fan,
                b"".join(self.packs),
                head,
                struct.pack("<Q", len(head)),
            ]
            seal = key.tag(body)
            temporary = path.with_name(f"{path.name}-tmp-{os.getpid()}")
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                    for part in [*body, seal, _MAGIC]:
                        file.write(part)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
                del body

    @classmethod
    def load(cls, path: Path, key: Key) -> tuple[Table, set[str]] | None:
        """Map a saved table; None if there is none, or it is not exactly what was saved."""
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < len(_MAGIC) + Key.TAG + 8:
                    return None
                mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            return None
        end = size - len(_MAGIC) - Key.TAG
        view = memoryview(mapped)
        if mapped[size - len(_MAGIC) :] != _MAGIC or not key.tag_fits([view[:end]], view[end : end + Key.TAG]):
            return None
        (length,) = struct.unpack_from("<Q", mapped, end - 8)
        head = msgspec.json.decode(view[end - 8 - length : end - 8])
        at = head["count"] * RECORD
        fan = view[at : at + 4 * head["fan"]].cast("I")
        at += 4 * head["fan"]
        names = bytes(view[at : at + 32 * head["packs"]])
        packs = [names[i : i + 32] for i in range(0, len(names), 32)]
        return cls(mapped, head["count"], fan, packs, is_mapped=True), set(head["ids"])


def _shelf_end(records: mmap.mmap, count: int, first: int, begin: int) -> int:
    """Return where the sorted records whose ids begin with this byte end; ``begin`` is where they begin."""
    low, high = begin // RECORD, count
    while low < high:
        middle = (low + high) // 2
        if records[middle * RECORD] <= first:
            low = middle + 1
        else:
            high = middle
    return low * RECORD


def _fan_of(records: mmap.mmap, count: int) -> memoryview:
    """Return, for each value of the first bits of an id, the number of the first record that has it."""
    bits = Table.fan_bits(count)
    sizes = array("I", bytes(4 * ((1 << bits) + 1)))
    shorten = (32 - bits).__rrshift__
    with memoryview(records) as view, view[: count * RECORD] as used, used.cast("I") as words:
        for start in range(0, len(words), STRIDE * 65536):
            prefixes = array("I", words[start : start + STRIDE * 65536 : STRIDE].tolist())
            if sys.byteorder == "little":
                prefixes.byteswap()
            for bucket, number in Counter(map(shorten, prefixes)).items():
                sizes[bucket + 1] += number
    return memoryview(array("I", accumulate(sizes)))


EMPTY = Table.build([], [])

"""Which pack holds which blob.

The bulk of an index is one sorted table of 48-byte records (id, pack, offset, length, plaintext length)
with a fan-out over the first bits of the id: about 50 bytes a blob, a look-up is one ``find`` inside a few
hundred bytes, and a table in a file is shared by every process that maps it.  What came since the table
was made stands in dictionaries until there is enough of it to make a new table.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, compress
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import msgspec

from backups.engine.blob import BlobType
from backups.engine.crypto import OVERHEAD, Buffer, Key
from backups.engine.errors import Corrupt
from backups.engine.layout import is_id
from backups.engine.pack import Entry, parse_header

RECORD = 48
_TREE = 1 << 31
_TAIL = struct.Struct(">IIII")
_UNIFORM = struct.Struct("<BII32s")
_RECORDS = struct.Struct("48s")
_WHOLE = struct.Struct(">32sIIII")
_PREFIXES = struct.Struct(">I44x")
_STRIDE, _TAG_WORD = RECORD // 4, 8
"""Of the native words that a record is: how many, and which one holds the pack's number."""
_MAGIC = b"HFINDEX2"
_MANY = 100_000
"""Records of a table large enough to take care of the memory around it."""
_FULL_INDEX = 50_000
"""Blobs after which an index object is saved."""


class Location(NamedTuple):
    """Where a blob lies.  ``pack`` is a number of this index; lengths in bytes, ``plain_size`` 0 if not compressed."""

    pack: int
    offset: int
    length: int
    plain_size: int


class IndexBlob(msgspec.Struct, omit_defaults=True, gc=False):
    """One blob in the JSON of an index object."""

    id: str
    type: str
    offset: int
    length: int
    uncompressed_length: int = 0


class IndexPack(msgspec.Struct, gc=False):
    """One pack in the JSON of an index object, with every blob of it."""

    id: str
    blobs: list[IndexBlob]


class IndexFile(msgspec.Struct):
    """An index object."""

    packs: list[IndexPack]


_decoder = msgspec.json.Decoder(IndexFile)
_KINDS = {"data": BlobType.DATA, "tree": BlobType.TREE}
_NAMES = {BlobType.DATA: "data", BlobType.TREE: "tree"}


def decode_index(payload: bytes) -> list[tuple[bytes, list[Entry]]]:
    """Decode an index object into (pack id, entries sorted by offset).  Raises Corrupt."""
    try:
        file = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt("an index that is not the JSON of one", kind="index") from error
    packs = []
    for item in file.packs:
        if not is_id(item.id):
            raise Corrupt("an index with a pack of no valid name", kind="index")
        try:
            entries = [
                Entry(_KINDS[b.type], bytes.fromhex(b.id), b.offset, b.length, b.uncompressed_length)
                for b in item.blobs
            ]
        except (KeyError, ValueError) as error:
            raise Corrupt("an index with a blob of no valid name or type", kind="index") from error
        for e in entries:
            if len(e.id) != 32 or e.length < OVERHEAD or e.offset < 0 or not 0 <= e.plain_size < 1 << 32:
                raise Corrupt("an index with impossible lengths", kind="index")
            if e.offset + e.length >= 1 << 32:
                raise Corrupt("an index that points past the end of any pack", kind="index")
        entries.sort(key=lambda e: e.offset)
        packs.append((bytes.fromhex(item.id), entries))
    return packs


def encode_index(packs: Iterable[tuple[str, Iterable[Entry]]]) -> bytes:
    """Return the JSON of an index object for these packs, each with all its blobs."""
    out = []
    for pack_id, entries in packs:
        blobs = ",".join(
            [
                f'{{"id":"{name.hex()}","type":"{_NAMES[kind]}","offset":{offset},"length":{length}'
                + (f',"uncompressed_length":{plain_size}}}' if plain_size else "}")
                for kind, name, offset, length, plain_size in entries
            ]
        )
        out.append(f'{{"id":"{pack_id}","blobs":[{blobs}]}}')
    return f'{{"packs":[{",".join(out)}]}}\n'.encode()


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
            for (record,) in _RECORDS.iter_unpack(part):
                shelves[record[0]] += record
        tags = _native_tags(kept)
        records = mmap.mmap(-1, max(1, count * RECORD + sum(map(len, shelves))))
        end = 0
        for number, shelf in enumerate(shelves):
            start, end = end, _shelf_end(old, count, number, end)
            stay = _of_packs(old[start:end], tags)
            if shelf:
                shelf += stay
                records.write(b"".join(sorted(record for (record,) in _RECORDS.iter_unpack(shelf))))
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
        record = blob_id + _TAIL.pack(pack | _TREE if kind else pack, offset, length, plain_size)
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
        pack, offset, length, plain_size = _TAIL.unpack_from(self._records, number * RECORD + 32)
        return Location(pack & ~_TREE, offset, length, plain_size)

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


def _native_tags(packs: Iterable[int]) -> set[int]:
    """Return how the numbers of packs stand in records, read as native words though they are big-endian."""
    return {int.from_bytes((number | bit).to_bytes(4, "big"), sys.byteorder) for number in packs for bit in (0, _TREE)}


def _of_packs(records: bytes, tags: set[int]) -> bytes:
    """Return those records whose packs have these native tags, in their order."""
    words = memoryview(records).cast("I")[_TAG_WORD::_STRIDE].tolist()
    return b"".join(map(itemgetter(0), compress(_RECORDS.iter_unpack(records), map(tags.__contains__, words))))


def _renumbered(records: bytes, numbers: Mapping[int, int]) -> bytes:
    """Return records with other numbers for their packs."""
    pack = _WHOLE.pack
    return b"".join(
        pack(blob_id, numbers[tag & ~_TREE] | tag & _TREE, *rest) for blob_id, tag, *rest in _WHOLE.iter_unpack(records)
    )


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
        for start in range(0, len(words), _STRIDE * 65536):
            prefixes = array("I", words[start : start + _STRIDE * 65536 : _STRIDE].tolist())
            if sys.byteorder == "little":
                prefixes.byteswap()
            for bucket, number in Counter(map(shorten, prefixes)).items():
                sizes[bucket + 1] += number
    return memoryview(array("I", accumulate(sizes)))


def _give_memory_back() -> None:
    """Return to the system what was freed: the records as they came would stay with the process beside the table."""
    with suppress(OSError, AttributeError):  # not every C library can
        ctypes.CDLL(None).malloc_trim(0)


def _never(_kind: int, _blob_id: bytes) -> bool:
    return False


def _records_of(number: int, content: bytes | list[Entry]) -> bytes:
    """Return the records of one pack's blobs."""
    pack = _TAIL.pack
    if isinstance(content, bytes):
        tag = content[0] if content else 0
        if tag >= 2 and len(content) % 41 == 0 and content[::41].count(tag) == len(content) // 41:
            number |= _TREE if tag == 3 else 0
            out = []
            offset = 0
            for _, length, plain_size, blob_id in _UNIFORM.iter_unpack(content):
                out.append(blob_id + pack(number, offset, length, plain_size))
                offset += length
            return b"".join(out)
        content = parse_header(content)
    return b"".join(e.id + pack(number | (_TREE if e.kind else 0), e.offset, e.length, e.plain_size) for e in content)


_EMPTY = Table.build([], [])


class Index:
    """All known blobs of a repository.  Not safe for writers in several threads; reading is.

    ``rebuild_at`` is how many blobs outside the table make it worth building a new one.
    """

    def __init__(self, table: Table = _EMPTY, *, rebuild_at: int = 20_000) -> None:
        self.table = table
        self.packs: list[bytes] = list(table.packs)
        self._numbers: dict[bytes, int] | None = None
        self._fresh: tuple[dict[bytes, list[Location]], dict[bytes, list[Location]]] = ({}, {})
        self._waiting: list[bytes] = []
        self._waiting_count = 0
        self._fresh_count = 0
        self._rebuild_at = rebuild_at
        self.excluded: set[int] = set()
        """Numbers of packs that are not there: their blobs count as unknown."""

    def __len__(self) -> int:
        return self.table.count + self._fresh_count + self._waiting_count

    def number(self, pack_id: bytes) -> int | None:
        """Return the number of a pack, or None if it is not in this index."""
        if self._numbers is None:
            self._numbers = {name: number for number, name in enumerate(self.packs)}
        return self._numbers.get(pack_id)

    def add(self, pack_id: bytes, content: bytes | list[Entry]) -> bool:
        """Add a pack, by its plain header or its entries; False if it was known already."""
        if self.number(pack_id) is not None:
            return False
        number = len(self.packs)
        self.packs.append(pack_id)
        assert self._numbers is not None
        self._numbers[pack_id] = number
        records = _records_of(number, content)
        self._waiting.append(records)
        self._waiting_count += len(records) // RECORD
        return True

    def settle(self) -> None:
        """Make everything that was added findable."""
        if not self._waiting:
            return
        if self._fresh_count + self._waiting_count > self._rebuild_at:
            self._rebuild()
            return
        for records in self._waiting:
            for blob_id, tag, offset, length, plain_size in _WHOLE.iter_unpack(records):
                place = Location(tag & ~_TREE, offset, length, plain_size)
                self._fresh[tag >> 31].setdefault(blob_id, []).append(place)
        self._fresh_count += self._waiting_count
        self._waiting.clear()
        self._waiting_count = 0

    def _rebuild(self) -> None:
        self.table = Table.build(self._take_records(), self.packs)
        self._fresh = ({}, {})
        self._fresh_count = self._waiting_count = 0
        if self.table.count >= _MANY:
            _give_memory_back()

    def _take_records(self) -> Iterator[bytes]:
        """Yield all records, letting go of those that were waiting."""
        table, step = self.table, RECORD * 65536
        for start in range(0, table.count * RECORD, step):
            yield table.records()[start : min(start + step, table.count * RECORD)]
        for kind, fresh in enumerate(self._fresh):
            bit = _TREE if kind else 0
            yield b"".join(i + _TAIL.pack(p.pack | bit, *p[1:]) for i, places in fresh.items() for p in places)
        while self._waiting:
            yield self._waiting.pop()

    def compact(self) -> Table:
        """Return one table of everything."""
        if self._fresh_count or self._waiting:
            self._rebuild()
        return self.table

    def without(self, packs: Collection[int], fresh: Sequence[tuple[bytes, bytes]] = ()) -> Index:
        """Return an index without the packs of these numbers, and with ``fresh`` ones (id, plain header).

        New packs take the numbers that become free, then the last packs do; the others keep theirs.
        """
        table = self.compact()
        names, parts = list(self.packs), []
        gone = set(packs)
        free = sorted(gone, reverse=True)
        for name, header in fresh:
            number = free.pop() if free else len(names)
            names[number : number + 1] = [name]
            parts.append(_records_of(number, header))
        moved: dict[int, int] = {}
        unused = set(free)
        while unused:
            last = len(names) - 1
            name = names.pop()
            if last in unused:
                unused.remove(last)
            else:
                moved[last] = free.pop()
                names[moved[last]] = name
                unused.remove(moved[last])
        if moved:
            tags, step = _native_tags(moved), RECORD * 65536
            for start in range(0, table.count * RECORD, step):
                part = table.records()[start : min(start + step, table.count * RECORD)]
                parts.append(_renumbered(_of_packs(part, tags), moved))
        kept = set(range(len(self.packs))) - gone - moved.keys()
        changed = Table.changed(table.records(), table.count, kept, parts, names)
        return Index(changed, rebuild_at=self._rebuild_at)

    def has(self, kind: int, blob_id: bytes) -> bool:
        """Tell whether a blob is known and its pack not known to be missing."""
        if self._waiting:
            self.settle()
        if self.excluded:
            return any(True for _ in self.find_all(kind, blob_id))
        return blob_id in self._fresh[kind] or self.table.find(kind, blob_id) >= 0

    def tester(self) -> Callable[[int, bytes], bool]:
        """Return the quickest ``has`` for an index that is not added to any more."""
        self.settle()
        if self.excluded or self._fresh_count:
            return self.has
        return self.table.has if self.table.count else _never

    def find(self, kind: int, blob_id: bytes) -> Location | None:
        """Return one place of a blob, or None."""
        if not self.excluded and not self._waiting:
            number = self.table.find(kind, blob_id)
            if number >= 0:
                return self.table.location(number)
        return next(self.find_all(kind, blob_id), None)

    def find_all(self, kind: int, blob_id: bytes) -> Iterator[Location]:
        """Yield every place of a blob that is not in a missing pack."""
        if self._waiting:
            self.settle()
        first = self.table.find(kind, blob_id)
        if first >= 0:
            for number in self.table.same(first):
                place = self.table.location(number)
                if place.pack not in self.excluded:
                    yield place
        for place in self._fresh[kind].get(blob_id, ()):
            if place.pack not in self.excluded:
                yield place

    def items(self) -> Iterator[tuple[BlobType, bytes, Location]]:
        """Yield every known (kind, id, place), duplicates included."""
        self.settle()
        for number in range(self.table.count):
            kind, blob_id = self.table.key(number)
            yield kind, blob_id, self.table.location(number)
        for kind_number, fresh in enumerate(self._fresh):
            for blob_id, places in fresh.items():
                for place in places:
                    yield BlobType(kind_number), blob_id, place


class IndexWriter:
    """Collects stored packs and saves an index object whenever enough of them are waiting.

    ``save`` takes the JSON and returns the id of the stored object.  Every pack given must be durable.
    """

    def __init__(self, save: Callable[[bytes], str], *, full: int = _FULL_INDEX) -> None:
        self._save = save
        self._full = full
        self._packs: list[tuple[str, bytes]] = []
        self._count = 0
        self.saved: list[str] = []

    def add(self, pack_id: str, header: bytes) -> None:
        """Note a stored pack by its plain header."""
        self._packs.append((pack_id, header))
        self._count += len(header) // 41 + 1
        if self._count >= self._full:
            self.flush()

    def flush(self) -> None:
        """Save what is waiting, if anything."""
        if self._packs:
            self.saved.append(self._save(encode_index((name, parse_header(header)) for name, header in self._packs)))
            self._packs.clear()
            self._count = 0

    def take(self) -> list[tuple[str, bytes]]:
        """Give away the packs that are in no saved index object yet."""
        packs, self._packs, self._count = self._packs, [], 0
        return packs

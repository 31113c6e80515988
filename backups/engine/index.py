"""Which pack holds which blob.

The bulk of an index is one table; what came since it was made stands in dictionaries until there is enough of it to
make a new table.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress

from backups.engine.blob import BlobType
from backups.engine.pack import Entry
from backups.engine.records import (
    RECORD,
    TAIL,
    TREE,
    WHOLE,
    Location,
    native_tags,
    of_packs,
    records_of,
    renumbered,
)
from backups.engine.table import EMPTY, Table

_MANY = 100_000
"""Records of a table large enough to take care of the memory around it."""


class Index:
    """All known blobs of a repository.  Not safe for writers in several threads; reading is.

    ``rebuild_at`` is how many blobs outside the table make it worth building a new one.
    """

    def __init__(self, table: Table = EMPTY, *, rebuild_at: int = 20_000) -> None:
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
        records = records_of(number, content)
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
            for blob_id, tag, offset, length, plain_size in WHOLE.iter_unpack(records):
                place = Location(tag & ~TREE, offset, length, plain_size)
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
            bit = TREE if kind else 0
            yield b"".join(i + TAIL.pack(p.pack | bit, *p[1:]) for i, places in fresh.items() for p in places)
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
            parts.append(records_of(number, header))
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
            tags, step = native_tags(moved), RECORD * 65536
            for start in range(0, table.count * RECORD, step):
                part = table.records()[start : min(start + step, table.count * RECORD)]
                parts.append(renumbered(of_packs(part, tags), moved))
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


def _give_memory_back() -> None:
    """Return to the system what was freed: the records as they came would stay with the process beside the table."""
    with suppress(OSError, AttributeError):  # not every C library can
        ctypes.CDLL(None).malloc_trim(0)


def _never(_kind: int, _blob_id: bytes) -> bool:
    return False

"""The first step of a check: index objects, and the packs they speak of against those that are there."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import compress
from operator import add

import msgspec

from backups.engine.errors import Corrupt
from backups.engine.findings import Finding
from backups.engine.index import Index
from backups.engine.index_file import decode_index
from backups.engine.layout import INDEX, is_id, object_key
from backups.engine.pack import ENTRY_PACKED, ENTRY_PLAIN, FIXED
from backups.engine.records import RECORD, TREE
from backups.engine.repository import Repository
from destinations.storage.errors import ObjectMissing, ShortRead

_CHUNK = 65536 * RECORD


class _Pack(msgspec.Struct, gc=False):
    id: str


class _Index(msgspec.Struct, gc=False):
    packs: list[_Pack]


_decode = msgspec.json.Decoder(_Index).decode


def stored_copy(repository: Repository, index_id: str) -> bytes:
    """Return the bytes of an index object as the storage has them now, twice asked.  Raises Corrupt."""
    for _ in range(2):
        try:
            data = repository.store.get(object_key(INDEX, index_id))
        except ShortRead:
            continue
        if sha256(data).hexdigest() == index_id:
            return data
    raise Corrupt(f"index/{index_id} has other content than its name says", kind="index", object_id=index_id)


class IndexCheck:
    """Reads every index object.  What is in it is taken from the loaded index; here it is only seen to be there."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.objects = 0

    def findings(self, tick: Callable[[], None]) -> Iterator[Finding]:
        """Read the objects; yield what is wrong with them."""
        speakers: dict[bytes, list[str]] = {}
        for name in sorted(self._repository.ids(INDEX)):
            tick()
            self.objects += 1
            try:
                payload = self._repository.decode_object(stored_copy(self._repository, name))
                packs = [bytes.fromhex(pack.id) for pack in _decode(payload).packs if is_id(pack.id)]
            except ObjectMissing:
                continue
            except (Corrupt, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                yield Finding("index-damaged", "index", name, f"index {name} cannot be used: {error}")
                continue
            for pack in packs:
                speakers.setdefault(pack, []).append(name)
        for pack, names in speakers.items():
            if len(names) > 1:
                yield self._twice(pack, names)

    def _twice(self, pack: bytes, names: list[str]) -> Finding:
        listed = []
        for name in names:
            entries = [
                entries for found, entries in decode_index(self._repository.load_object(INDEX, name)) if found == pack
            ]
            listed += [set(each) for each in entries]
        shown = ", ".join(name[:8] for name in names)
        if any(each != listed[0] for each in listed):
            text = f"pack {pack.hex()} has different contents in the index objects {shown}"
            return Finding("pack-indexed-differently", "pack", pack.hex(), text)
        return Finding("pack-indexed-twice", "pack", pack.hex(), f"pack {pack.hex()} is in the index objects {shown}")


class PackFacts:
    """What the index says of each pack, by its number: how many blobs, of which kinds, and the size of the file."""

    def __init__(self, index: Index) -> None:
        # All by tag: a pack's number, with one bit more for trees.
        self._blobs: Counter[int] = Counter()
        self._packed: Counter[int] = Counter()
        self._lengths: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        table = index.compact()
        whole = memoryview(table.records())[: table.count * RECORD]
        for start in range(0, len(whole), _CHUNK):
            self._add(whole[start : start + _CHUNK].cast("I"))
        self.counts = [self._blobs[number] + self._blobs[number | TREE] for number in range(len(index.packs))]

    def _add(self, words: memoryview) -> None:
        columns = []
        for at in range(8, 12):
            column = array("I", words[at::12])
            if sys.byteorder == "little":
                column.byteswap()
            columns.append(column.tolist())
        tags, offsets, sizes, plain_sizes = columns
        self._blobs.update(tags)
        self._packed.update(compress(tags, plain_sizes))
        lengths, ends = self._lengths, self._ends
        for tag in set(tags):
            lengths.setdefault(tag, 0)
            ends.setdefault(tag, 0)
        for tag, length in zip(tags, sizes, strict=True):
            lengths[tag] += length
        for tag, end in zip(tags, map(add, offsets, sizes), strict=True):
            ends[tag] = max(ends[tag], end)

    def size(self, pack: int) -> int:
        """Return the size the file must have, in bytes."""
        packed = self._packed[pack] + self._packed[pack | TREE]
        return FIXED + self._length(pack) + self.counts[pack] * ENTRY_PLAIN + packed * (ENTRY_PACKED - ENTRY_PLAIN)

    def is_mixed(self, pack: int) -> bool:
        """Tell whether trees and data share a pack."""
        return pack in self._ends and pack | TREE in self._ends

    def has_gaps(self, pack: int) -> bool:
        """Tell whether the blobs the index knows do not fill the pack from its first byte on."""
        return self._length(pack) != max(self._ends.get(pack, 0), self._ends.get(pack | TREE, 0))

    def _length(self, pack: int) -> int:
        return self._lengths.get(pack, 0) + self._lengths.get(pack | TREE, 0)


def pack_findings(repository: Repository, facts: PackFacts, listed: dict[str, int]) -> Iterator[Finding]:
    """Compare the packs of the index with those that are there; missing ones are excluded from the index."""
    index = repository.index
    version = repository.version
    known = set()
    for number, pack in enumerate(index.packs):
        name = pack.hex()
        known.add(name)
        if not facts.counts[number]:
            continue
        size = listed.get(name)
        if size is None:
            index.excluded.add(number)
            yield Finding("pack-missing", "pack", name, f"pack {name} is not there")
        elif size != facts.size(number):
            text = f"pack {name} has {size} bytes, and by the index must have {facts.size(number)}"
            yield Finding("pack-size", "pack", name, text)
        if facts.has_gaps(number):
            yield Finding(
                "pack-gaps", "pack", name, f"the index does not know all of pack {name}, or parts of it twice"
            )
        if facts.is_mixed(number) and version >= 2:
            yield Finding(
                "pack-mixed", "pack", name, f"pack {name} holds both trees and data; the next prune parts them"
            )
    for name in listed:
        if name not in known:
            yield Finding("pack-unknown", "pack", name, f"pack {name} is in no index; the next prune removes it")

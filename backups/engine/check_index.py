"""The first step of a check: index objects, and the packs they speak of against those that are there."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator
from hashlib import sha256

import msgspec

from backups.engine.errors import Corrupt
from backups.engine.findings import Finding
from backups.engine.index import RECORD, Index, decode_index
from backups.engine.layout import INDEX, is_id, object_key
from backups.engine.pack import ENTRY_PACKED, ENTRY_PLAIN, FIXED
from backups.engine.repository import Repository
from destinations.storage.errors import ObjectMissing, ShortRead

_NUMBER = (1 << 31) - 1
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
        count = len(index.packs)
        self.counts = array("I", bytes(4 * count))
        self.sizes = array("Q", bytes(8 * count))
        self._lengths = array("Q", bytes(8 * count))
        self._ends = array("Q", bytes(8 * count))
        self._kinds = bytearray(count)
        table = index.compact()
        whole = memoryview(table.records())[: table.count * RECORD]
        for start in range(0, len(whole), _CHUNK):
            self._add(whole[start : start + _CHUNK].cast("I"))
        for number, blobs in enumerate(self.counts):
            self.sizes[number] += self._lengths[number] + FIXED + blobs * ENTRY_PLAIN

    def _add(self, words: memoryview) -> None:
        columns = []
        for at in range(8, 12):
            column = array("I", words[at::12])
            if sys.byteorder == "little":
                column.byteswap()
            columns.append(column)
        counts, sizes, lengths, ends, kinds = self.counts, self.sizes, self._lengths, self._ends, self._kinds
        for tag, offset, length, plain_size in zip(*columns, strict=True):
            pack = tag & _NUMBER
            kinds[pack] |= 2 if tag > _NUMBER else 1
            counts[pack] += 1
            lengths[pack] += length
            if plain_size:
                sizes[pack] += ENTRY_PACKED - ENTRY_PLAIN
            end = offset + length
            if end > ends[pack]:  # noqa: PLR1730 - once for every blob of the repository
                ends[pack] = end

    def is_mixed(self, pack: int) -> bool:
        """Tell whether trees and data share a pack."""
        return self._kinds[pack] == 3

    def has_gaps(self, pack: int) -> bool:
        """Tell whether the blobs the index knows do not fill the pack from its first byte on."""
        return self._lengths[pack] != self._ends[pack]


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
        elif size != facts.sizes[number]:
            text = f"pack {name} has {size} bytes, and by the index must have {facts.sizes[number]}"
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

"""Tables of many blobs: what goes in is found, what is taken out is not, whatever the numbers of the packs become."""

from __future__ import annotations

import struct
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from backups.engine.blob import BlobType
from backups.engine.index import Index
from backups.engine.pack import Entry
from backups.engine.table import Table

Packs = dict[bytes, list[Entry]]


def pack_id(number: int) -> bytes:
    return sha256(b"pack %d" % number).digest()


def entries(blobs: list[tuple[int, bool, int]]) -> list[Entry]:
    """Entries of a pack: (number of the blob, tree or data, plaintext length)."""
    found, offset = [], 0
    for number, is_tree, plain_size in blobs:
        found.append(Entry(BlobType(is_tree), sha256(b"%d" % number).digest(), offset, 40 + number, plain_size))
        offset += 40 + number
    return found


def header(content: list[Entry]) -> bytes:
    """The plain header that lists these entries."""
    packed = struct.Struct("<BII32s")
    plain = struct.Struct("<BI32s")
    return b"".join(
        packed.pack(e.kind + 2, e.length, e.plain_size, e.id) if e.plain_size else plain.pack(e.kind, e.length, e.id)
        for e in content
    )


def index_of(packs: Packs, *, by_header: bool = False) -> Index:
    index = Index(rebuild_at=10)
    for name, content in packs.items():
        index.add(name, header(content) if by_header else content)
    index.settle()
    return index


def said_by(index: Index) -> set[tuple[bytes, Entry]]:
    return {
        (index.packs[place.pack], Entry(kind, blob_id, place.offset, place.length, place.plain_size))
        for kind, blob_id, place in index.items()
    }


def said_of(packs: Packs) -> set[tuple[bytes, Entry]]:
    return {(name, entry) for name, content in packs.items() for entry in content}


some_blobs = st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.sampled_from([0, 77])), min_size=1, max_size=8)
some_packs = st.dictionaries(st.integers(0, 20), some_blobs, max_size=12).map(
    lambda found: {pack_id(number): entries(blobs) for number, blobs in found.items()}
)


@given(some_packs, some_packs, st.data())
def test_packs_taken_out_and_put_in_are_what_the_new_index_says(
    packs: Packs, others: Packs, data: st.DataObject
) -> None:
    index = index_of(packs)
    gone = data.draw(st.sets(st.sampled_from(sorted(packs)))) if packs else set()
    fresh = {name: content for name, content in others.items() if name not in packs}
    numbers = {number for name in gone if (number := index.number(name)) is not None}
    changed = index.without(numbers, [(name, header(content)) for name, content in fresh.items()])
    expected = {name: content for name, content in packs.items() if name not in gone} | fresh
    assert said_by(changed) == said_of(expected)
    assert sorted(changed.packs) == sorted(expected)
    assert said_by(index) == said_of(packs)
    for _, entry in said_of(packs) | said_of(fresh):
        assert changed.has(entry.kind, entry.id) == any(
            (entry.kind, entry.id) == (e.kind, e.id) for content in expected.values() for e in content
        )


@given(some_packs, st.booleans())
def test_one_table_of_everything_finds_every_copy(packs: Packs, by_header: bool) -> None:
    index = index_of(packs, by_header=by_header)
    table = index.compact()
    assert table.count == sum(map(len, packs.values()))
    assert said_by(index) == said_of(packs)
    for _, entry in said_of(packs):
        first = table.find(entry.kind, entry.id)
        assert table.key(first) == (entry.kind, entry.id)
        copies = sum((e.kind, e.id) == (entry.kind, entry.id) for content in packs.values() for e in content)
        assert len(list(table.same(first))) == copies
    assert table.find(0, sha256(b"never").digest()) == -1


def test_a_large_table_finds_every_record() -> None:
    ids = [sha256(b"%d" % number).digest() for number in range(20_000)]
    records = [blob_id + struct.pack(">IIII", number % 2, number, 50, 0) for number, blob_id in enumerate(ids)]
    half = Table.build([b"".join(records[:10_000])], [pack_id(0), pack_id(1)])
    table = Table.changed(half.records(), half.count, [0], [b"".join(records[10_000:])], [pack_id(0), pack_id(1)])
    assert (half.count, table.count) == (10_000, 15_000)
    for number, blob_id in enumerate(ids):
        found = table.find(0, blob_id)
        assert (found >= 0) == (number >= 10_000 or number % 2 == 0)
        assert found < 0 or table.location(found).offset == number
    assert table.find(1, ids[0]) == -1

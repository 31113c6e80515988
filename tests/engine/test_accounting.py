"""Every needed blob counts as used exactly once, and every byte of every pack is accounted for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backups.engine.accounting import Account, account
from backups.engine.pack import FIXED, entry_size, file_size
from backups.engine.usage import Usage
from tests.engine.test_index_table import Packs, entries, index_of, pack_id

# Few different blobs in many packs: most of them are stored several times.
blobs = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.sampled_from([0, 77])), min_size=1, max_size=5)
packs = st.lists(blobs, min_size=1, max_size=8).map(
    lambda found: {pack_id(number): entries(content) for number, content in enumerate(found)}
)


def books_of(content: Packs, needed: set[int]) -> tuple[Account, list[tuple[int, int]], set[int]]:
    """The account when blobs of these numbers are needed; (pack, record) of all copies used; first records needed."""
    index = index_of(content)
    usage = Usage(index.compact())
    wanted = {entry.id for entry in entries([(number, False, 0) for number in needed])} if needed else set()
    first = {usage.number(entry.kind, entry.id) for found in content.values() for entry in found if entry.id in wanted}
    for number in first:
        usage.marks[number] = 1
    books = account(usage, len(index.packs))
    used = [(usage.table.location(n).pack, n) for n in range(usage.table.count) if usage.marks[n]]
    return books, used, first


@given(packs, st.sets(st.integers(0, 6)))
def test_one_copy_of_each_needed_blob_is_used(content: Packs, needed: set[int]) -> None:
    books, used, first = books_of(content, needed)
    table = books.usage.table
    assert sorted(table.key(number) for _, number in used) == sorted(table.key(number) for number in first)
    copies = sum(table.key(number) in {table.key(n) for n in first} for number in range(table.count))
    assert (books.used.blobs, books.duplicate.blobs) == (len(first), copies - len(first))
    assert books.used.blobs + books.duplicate.blobs + books.unused.blobs == table.count


@given(packs, st.sets(st.integers(0, 6)))
def test_the_sizes_of_each_pack_add_up(content: Packs, needed: set[int]) -> None:
    books, used, _ = books_of(content, needed)
    table = books.usage.table
    assert [pack.size for pack in books.packs] == [file_size(found) for found in content.values()]
    for number, (pack, found) in enumerate(zip(books.packs, content.values(), strict=True)):
        lengths = [table.location(record).length for home, record in used if home == number]
        overhead = FIXED + sum(entry_size(entry.plain_size) for entry in found)
        assert (pack.used_blobs, pack.used_size) == (len(lengths), sum(lengths) + overhead)
        assert pack.has_uncompressed == any(not entry.plain_size for entry in found)
        assert (pack.is_data, pack.is_tree, pack.is_mixed) == (
            all(not entry.kind for entry in found),
            all(entry.kind for entry in found),
            len({entry.kind for entry in found}) == 2,
        )


@given(packs, st.sets(st.integers(0, 6)))
def test_the_groups_hold_every_copy_of_what_is_stored_several_times(content: Packs, needed: set[int]) -> None:
    books, _, first = books_of(content, needed)
    table = books.usage.table
    expected = [list(table.same(number)) for number in sorted(first)]
    assert books.groups == [group for group in expected if len(group) > 1]

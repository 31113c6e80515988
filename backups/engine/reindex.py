"""Replaces index objects: without packs that are to go, with packs that are new.

The order is what makes it safe to be killed: new objects are stored and seen there, then old ones are removed,
and only after that may the caller remove packs.  At no time does an index name a pack that is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from backups.engine.errors import Corrupt
from backups.engine.index_file import encode_index
from backups.engine.layout import INDEX
from backups.engine.pack import ENTRY_PLAIN, MAX_HEADER, Entry, parse_header
from backups.engine.repository import Repository
from backups.engine.sweep import sweep
from backups.engine.watch import Watch
from destinations.storage.errors import StoreError

FULL = 50_000
"""Blobs; an index object that holds as many is left as it is."""
OVERSIZED = FULL + MAX_HEADER // ENTRY_PLAIN
"""Blobs; an index object that holds more is written again in pieces."""


class _Pack(msgspec.Struct, gc=False):
    id: str
    blobs: msgspec.Raw


class _File(msgspec.Struct):
    packs: list[_Pack]


_decode = msgspec.json.Decoder(_File).decode


class Reindexed(msgspec.Struct):
    """What was done: index objects written, removed, and all there are now."""

    written: list[str] = []
    removed: list[str] = []
    present: set[str] = msgspec.field(default_factory=set)


class _Writer(msgspec.Struct):
    """Joins packs to index objects of :data:`FULL` blobs."""

    repository: Repository
    packs: list[bytes] = []
    count: int = 0
    written: list[str] = []

    def add(self, pack: bytes, blobs: int) -> None:
        self.packs.append(pack)
        self.count += blobs
        if self.count >= FULL:
            self.flush()

    def flush(self) -> None:
        if self.packs:
            self.written.append(self.repository.save_object(INDEX, b'{"packs":[%b]}\n' % b",".join(self.packs)))
            self.packs, self.count = [], 0


def rewrite_index(
    repository: Repository,
    *,
    drop: Collection[str] = (),
    fresh: Iterable[tuple[str, bytes | list[Entry]]] = (),
    obsolete: Collection[str] = (),
    expect: Iterable[str] = (),
    watch: Watch | None = None,
) -> Reindexed:
    """Write index objects anew where they name a pack of ``drop``, repeat a pack, or hold too few or too many blobs.

    ``fresh`` are packs to add, by id and plain header or entries, read as they are written; they may be in ``drop``
    too, which replaces them.
    ``obsolete`` are index objects to remove unread, ``expect`` packs that must be named afterwards.  Packs are not
    touched.  Raises Corrupt or StoreError before anything was removed, unless removing itself fails.
    """
    watch = watch or Watch()
    listed = repository.ids(INDEX)
    old = [name for name in obsolete if name in listed]
    writer = _Writer(repository)
    seen: set[str] = set()
    gone = frozenset(drop)
    for done, name in enumerate(sorted(listed.keys() - set(old))):
        watch.step("rewriting the index", done=done, total=len(listed))
        kept, is_same = _sift(_packs_of(repository, name), gone, seen)
        blobs = sum(count for _, count in kept)
        if is_same and FULL <= blobs <= OVERSIZED:
            continue
        old.append(name)
        for pack, count in kept:
            writer.add(_encode(pack), count)
    for pack_id, content in fresh:
        seen.add(pack_id)
        entries = parse_header(content) if isinstance(content, bytes) else content
        writer.add(encode_index([(pack_id, entries)])[len(b'{"packs":[') : -len(b"]}\n")], len(entries))
    writer.flush()
    lost = set(expect) - seen
    if lost:
        raise StoreError(f"the storage does not list the index of pack {min(lost)}; try again later")
    left = sweep(repository, INDEX, old, watch, "removing old index objects")
    if left:
        raise StoreError(f"{len(left)} old index objects could not be removed, so no pack was removed either")
    return Reindexed(writer.written, old, (listed.keys() - set(old)) | set(writer.written))


def _packs_of(repository: Repository, name: str) -> list[_Pack]:
    try:
        return _decode(repository.load_object(INDEX, name)).packs
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(f"index/{name} is not the JSON of one", kind="index", object_id=name) from error


def _sift(packs: list[_Pack], drop: frozenset[str], seen: set[str]) -> tuple[list[tuple[_Pack, int]], bool]:
    """Return the packs to keep, each with its number of blobs, and whether that is all of them."""
    kept: list[tuple[_Pack, int]] = []
    for pack in packs:
        if pack.id not in drop and pack.id not in seen:
            seen.add(pack.id)
            kept.append((pack, bytes(pack.blobs).count(b'"id"')))
    return kept, len(kept) == len(packs)


def _encode(pack: _Pack) -> bytes:
    return b'{"id":"%b","blobs":%b}' % (pack.id.encode(), bytes(pack.blobs))

"""Index objects: the JSON that names the packs and their blobs, read, written and collected."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from backups.engine.blob import BlobType
from backups.engine.crypto import OVERHEAD
from backups.engine.errors import Corrupt
from backups.engine.layout import is_id
from backups.engine.pack import Entry, parse_header

_FULL_INDEX = 50_000
"""Blobs after which an index object is saved."""


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

"""Blobs of a repository by their ids, out of the packs that its index names.

Lengths, tags and ids are checked before a blob is believed; what fails is fetched once more, then from other copies.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import TypeVar, cast

from backups.engine.blob import MAX_BLOB, BlobType, open_blob, use_blob
from backups.engine.cache import Cache
from backups.engine.crypto import Key
from backups.engine.errors import BlobMissing, Corrupt
from backups.engine.index import Index
from backups.engine.layout import DATA, is_id, object_key
from backups.engine.objects import Config, Objects
from backups.engine.pack import EAGER, TRAILER, Entry, header_length, open_header
from backups.engine.records import Location
from destinations.storage.base import ObjectStore
from destinations.storage.errors import ObjectMissing, ShortRead, StoreError

_COPIES = 32
"""Places of one blob that are tried."""
_WINDOW = 512 * 1024
_WINDOWS = 6
T = TypeVar("T")


class Blobs(Objects):
    """The blobs of one repository.  Of trees, what lies around is kept for a while, or their packs in the cache."""

    def __init__(self, store: ObjectStore, key: Key, config: Config, cache: Cache | None) -> None:
        super().__init__(store, key, config, cache)
        self._index: Index | None = None
        self._forget_what_was_read()

    @property
    def index(self) -> Index:
        """The loaded index."""
        if self._index is None:
            raise RuntimeError("the index is not loaded")
        return self._index

    def _forget_what_was_read(self) -> None:
        self._windows: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._pack_sizes: dict[int, int] = {}

    def pack_size(self, pack: int) -> int:
        """Return the stored size of a pack by its number in the index."""
        size = self._pack_sizes.get(pack)
        if size is None:
            size = self._pack_sizes[pack] = self.store.stat(object_key(DATA, self.index.packs[pack].hex()))
        return size

    def read_pack(self, pack_id: str, offset: int, length: int) -> bytes:
        """Return a range of a pack as stored, unchecked.  Raises StoreError."""
        return self.store.get(object_key(DATA, pack_id), offset=offset, length=length)

    def read_header(self, pack_id: str, size: int) -> list[Entry]:
        """Return the entries a pack of ``size`` bytes lists in its own header.  Raises Corrupt, StoreError."""
        tail = self.read_pack(pack_id, max(0, size - EAGER), min(size, EAGER))
        try:
            length = header_length(tail, size)
            if length + TRAILER > len(tail):
                tail = self.read_pack(pack_id, size - length - TRAILER, length + TRAILER)
            return open_header(self.key, tail[len(tail) - length - TRAILER : len(tail) - TRAILER], size)
        except Corrupt as error:
            raise Corrupt(f"pack {pack_id}: {error}", kind="pack", object_id=pack_id) from error

    def load_blob(self, kind: BlobType, blob_id: bytes) -> bytes:
        """Return the plaintext of a blob, from any pack that has it whole.

        Raises BlobMissing if the index has no place for it, Corrupt if every copy is damaged, StoreError.
        """
        return self._first_whole(kind, blob_id, open_blob)

    def _first_whole(self, kind: BlobType, blob_id: bytes, opened: Callable[[Key, bytes, int, bytes], T]) -> T:
        failure: Exception | None = None
        first = self.index.find(kind, blob_id)
        if first is not None:
            try:
                return opened(self.key, self._read_sealed(kind, first, fresh=False), first.plain_size, blob_id)
            except (Corrupt, ObjectMissing, ShortRead) as error:
                failure = error
        # Honest copies are few; an index that names a blob a million times must not make a million requests.
        for place in dict.fromkeys(islice(self.index.find_all(kind, blob_id), _COPIES)):
            for fresh in (False, True):
                try:
                    return opened(self.key, self._read_sealed(kind, place, fresh=fresh), place.plain_size, blob_id)
                except (Corrupt, ObjectMissing, ShortRead) as error:
                    failure = error
        if failure is None:
            raise BlobMissing(
                f"{kind.name.lower()} blob {blob_id.hex()} is in no pack of the index",
                kind="blob",
                object_id=blob_id.hex(),
            )
        if isinstance(failure, StoreError):
            raise Corrupt(
                f"{kind.name.lower()} blob {blob_id.hex()} cannot be read: {failure}",
                kind="blob",
                object_id=blob_id.hex(),
            ) from failure
        raise failure

    def load_tree(self, tree_id: str) -> bytes:
        """Return the JSON bytes of a tree by its hexadecimal id; see :meth:`load_blob`."""
        return self.load_blob(BlobType.TREE, _tree_name(tree_id))

    def load_tree_as(self, tree_id: str, decode: Callable[[bytes, str], T]) -> T:
        """Return what ``decode`` (JSON bytes, tree id) makes of a tree; of a large one, while its bytes are proven.

        Raises what :meth:`load_blob` and ``decode`` raise.
        """

        def settle(plain: bytes) -> tuple[T | None, Corrupt | None]:
            # Bytes that are what their name says, yet no tree, are no reason to try the next copy.
            try:
                return decode(plain, tree_id), None
            except Corrupt as error:
                return None, error

        def opened(key: Key, sealed: bytes, size: int, name: bytes) -> tuple[T | None, Corrupt | None]:
            return use_blob(key, sealed, size, name, settle)

        decoded, wrong = self._first_whole(BlobType.TREE, _tree_name(tree_id), opened)
        if wrong is not None:
            raise wrong
        return cast(T, decoded)

    def _read_sealed(self, kind: BlobType, place: Location, *, fresh: bool) -> bytes:
        if place.length > MAX_BLOB:
            raise Corrupt(f"a blob of {place.length} bytes is beyond the limit", kind="blob")
        name = self.index.packs[place.pack].hex()
        if kind == BlobType.DATA or fresh:
            return self.read_pack(name, place.offset, place.length)
        if self._caches_files and self.cache is not None:
            return self._read_cached(name, place)
        return self._read_window(name, place)

    def _read_cached(self, name: str, place: Location) -> bytes:
        assert self.cache is not None
        data = self.cache.read(DATA, name, place.offset, place.length)
        if data is None:
            if self.pack_size(place.pack) > 2 * MAX_BLOB:
                return self.read_pack(name, place.offset, place.length)
            whole = self.store.get(object_key(DATA, name))
            self.cache.write(DATA, name, whole)
            data = whole[place.offset : place.offset + place.length]
            if len(data) != place.length:
                raise ShortRead(f"pack {name} is shorter than the index says", key=object_key(DATA, name))
        return data

    def _read_window(self, name: str, place: Location) -> bytes:
        """Trees of one backup lie side by side: read half a megabyte around, and serve the next ones from it."""
        start = place.offset - place.offset % _WINDOW
        within = place.offset - start
        if within + place.length > _WINDOW:
            return self.read_pack(name, place.offset, place.length)
        slot = (place.pack, start)
        window = self._windows.get(slot)
        if window is None:
            length = min(_WINDOW, self.pack_size(place.pack) - start)
            window = self._windows[slot] = self.read_pack(name, start, max(length, 0))
            if len(self._windows) > _WINDOWS:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(slot)
        data = window[within : within + place.length]
        if len(data) != place.length:
            raise ShortRead(f"pack {name} is shorter than the index says", key=object_key(DATA, name))
        return data


def _tree_name(tree_id: str) -> bytes:
    if not is_id(tree_id):
        raise Corrupt("a tree id that is none", kind="tree", object_id=tree_id[:80])
    return bytes.fromhex(tree_id)

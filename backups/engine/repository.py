"""An open repository: its objects by name, its blobs by id.

Everything read is checked before it is believed: the hash of an object against its name, the tag of an
envelope, the recorded lengths, the id of a blob.  What fails is fetched once more, then Corrupt.
"""

from __future__ import annotations

import copy
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from backups.engine import keys, locks
from backups.engine.blob import MAX_BLOB, BlobType, Codec, decompress, open_blob, use_blob
from backups.engine.cache import Cache
from backups.engine.chunker import Chunker, random_polynomial
from backups.engine.crypto import Key
from backups.engine.errors import (
    BlobMissing,
    Corrupt,
    KeyRejected,
    RepositoryExists,
    RepositoryMissing,
    Unsupported,
    WrongKey,
)
from backups.engine.index import Index
from backups.engine.index_file import decode_index
from backups.engine.layout import (
    CONFIG,
    DATA,
    INDEX,
    KEYS,
    LOCKS,
    SNAPSHOTS,
    SPARE_CONFIG,
    Kind,
    folders,
    is_id,
    object_key,
)
from backups.engine.pack import EAGER, TRAILER, Entry, header_length, open_header
from backups.engine.records import Location
from backups.engine.snapshot import Snapshot, decode_snapshot
from backups.engine.table import Table
from destinations.storage.base import Data, ObjectStore, PreparesFolders, parts_of
from destinations.storage.errors import ObjectMissing, ShortRead, StoreError

VERSIONS = (1, 2)
MAX_OBJECT = 256 * 1024 * 1024
"""Bytes; the largest decoded config, index, snapshot or lock a reader takes."""
_COMPRESSED = b"\x02"
_COPIES = 32
"""Places of one blob that are tried."""
_WINDOW = 512 * 1024
_WINDOWS = 6
T = TypeVar("T")


class Config(msgspec.Struct):
    """The config object: format version, id, and the chunker's polynomial in hexadecimal."""

    version: int
    id: str
    chunker_polynomial: str


class Repository:
    """A repository that was unlocked.  Made by :meth:`create` and :meth:`open`."""

    def __init__(
        self, store: ObjectStore, key: Key, config: Config, key_id: str, cache_root: Path | None = None
    ) -> None:
        self.store = store
        self.key = key
        self.config = config
        self.key_id = key_id
        self.chunker = Chunker(int(config.chunker_polynomial, 16))
        self.codec = Codec()
        self.cache = Cache(cache_root, config.id) if cache_root is not None else None
        self._caches_files = self.cache is not None and not store.capabilities.forkable
        self._index: Index | None = None
        self._index_ids: set[str] | None = set()
        self._horizon: set[str] | None = None
        self._windows: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._pack_sizes: dict[int, int] = {}

    # ------------------------------------------------------------------ making and opening

    @classmethod
    def create(
        cls,
        store: ObjectStore,
        password: str,
        *,
        version: int = 2,
        polynomial: int | None = None,
        params: keys.KdfParams = keys.KdfParams(),
        cache_root: Path | None = None,
    ) -> Repository:
        """Make a new repository; RepositoryExists if there is anything of one.

        The key that an attempt which was killed left is used if the password opens it.  ``polynomial`` shares the
        chunking of another repository, so that copies between the two deduplicate.
        """
        if version not in VERSIONS:
            raise Unsupported(f"repository version {version}: only 1 and 2 exist")
        left = _left_by_init(store, password)
        if isinstance(store, PreparesFolders):
            store.prepare(folders())
        master, name = left or (Key.generate(), "")
        chosen = polynomial if polynomial is not None else random_polynomial()
        config = Config(version, os.urandom(32).hex(), f"{chosen:x}")
        if not name:
            raw = keys.wrap(master, password, params, created=now_text())
            name = keys.key_id(raw)
            store.put(object_key(KEYS, name), raw)
        repository = cls(store, master, config, name, cache_root)
        repository.save_config()
        return repository

    @classmethod
    def open(
        cls, store: ObjectStore, password: str, *, cache_root: Path | None = None, key_hint: str = ""
    ) -> Repository:
        """Unlock the repository in ``store``.

        Raises RepositoryMissing, WrongKey, KeyRejected, Corrupt, Unsupported or StoreError.
        """
        key, name = find_key(store, password, key_hint)
        return cls.open_with_key(store, key, key_id=name, cache_root=cache_root)

    @classmethod
    def open_with_key(
        cls, store: ObjectStore, key: Key, *, key_id: str = "", cache_root: Path | None = None
    ) -> Repository:
        """Open a repository whose master key is known, without deriving anything."""
        sealed = _read_config(store)
        try:
            config = msgspec.json.decode(key.open(sealed), type=Config)
            polynomial = int(config.chunker_polynomial, 16)
        except (Corrupt, msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
            raise Corrupt("the repository's config is damaged", kind="config", object_id=CONFIG) from error
        if config.version not in VERSIONS:
            raise Unsupported(f"repository version {config.version}; this program knows 1 and 2")
        if not is_id(config.id) or polynomial.bit_length() > 64:
            raise Corrupt("the repository's config is damaged", kind="config", object_id=CONFIG)
        return cls(store, key, config, key_id, cache_root)

    def save_config(self) -> None:
        """Write the config object and read it back."""
        sealed = self.key.seal(msgspec.json.encode(self.config))
        self.store.put(CONFIG, sealed)
        if self.store.get(CONFIG) != sealed:
            raise Corrupt("the config that was just written reads back differently", kind="config", object_id=CONFIG)

    def twin(self) -> Repository:
        """Return the same repository for another thread: store, keys and index are shared, what was read is not."""
        twin = copy.copy(self)
        twin._windows = OrderedDict()
        twin._pack_sizes = {}
        return twin

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    @property
    def version(self) -> int:
        """The repository's format version, 1 or 2."""
        return self.config.version

    @property
    def id(self) -> str:
        """The repository's id, 64 hexadecimal digits."""
        return self.config.id

    @property
    def lists_at_once(self) -> bool:
        """Whether a new object is in everybody's next listing."""
        return self.store.capabilities.lists_at_once

    def locked(
        self, *, exclusive: bool, wait: float = 0.0, times: locks.LockTimes = locks.LockTimes()
    ) -> AbstractContextManager[locks.Lock]:
        """Hold the format's lock for the length of a ``with`` block; see :func:`locks.held`."""
        return locks.held(self, exclusive=exclusive, wait=wait, times=times)

    # ------------------------------------------------------------------ objects

    def ids(self, kind: Kind) -> dict[str, int]:
        """Return id and stored size of every object of a kind; foreign names are left out."""
        found: dict[str, int] = {}
        for info in self.store.list(kind):
            name = info.key.rsplit("/", 1)[-1]
            if is_id(name):
                found[name] = info.size
        return found

    def load_raw(self, kind: Kind, object_id: str) -> bytes:
        """Return the stored bytes of a whole object whose hash matches its name; fetched twice before Corrupt."""
        cached = self.cache.read(kind, object_id) if self._caches_files and self.cache and kind != LOCKS else None
        if cached is not None and sha256(cached).hexdigest() == object_id:
            return cached
        for _ in range(2):
            data = self.store.get(object_key(kind, object_id))
            if sha256(data).hexdigest() == object_id:
                if self._caches_files and self.cache and kind in (INDEX, SNAPSHOTS):
                    self.cache.write(kind, object_id, data)
                return data
        raise Corrupt(f"{kind}/{object_id} has other content than its name says", kind=kind, object_id=object_id)

    def load_object(self, kind: Kind, object_id: str) -> bytes:
        """Return the decoded payload (JSON) of an index, snapshot or lock object.  Raises Corrupt, ObjectMissing."""
        data = self.load_raw(kind, object_id)
        try:
            return self.decode_object(data)
        except Corrupt as error:
            raise Corrupt(f"{kind}/{object_id} {error}", kind=kind, object_id=object_id) from error

    def decode_object(self, data: bytes) -> bytes:
        """Open and decompress the stored bytes of an index, snapshot or lock."""
        payload = self.key.open(data)
        if not payload or payload[:1] in (b"{", b"["):
            return payload
        if payload[:1] != _COMPRESSED:
            raise Corrupt("does not start as an object of this format does")
        return decompress(memoryview(payload)[1:], None, MAX_OBJECT)

    def save_object(self, kind: Kind, payload: bytes) -> str:
        """Seal and store an index, snapshot or lock; return its id.  What was sealed is opened again first."""
        plain = payload if self.version == 1 else _COMPRESSED + self.codec.compress(payload, forced=True)
        sealed = self.key.seal(plain)
        if self.decode_object(sealed) != payload:
            raise Corrupt(f"a sealed {kind} object does not open; the memory of this machine may be bad", kind=kind)
        name = sha256(sealed).hexdigest()
        self.put_and_prove(object_key(kind, name), sealed, name)
        if self._caches_files and self.cache and kind in (INDEX, SNAPSHOTS):
            self.cache.write(kind, name, sealed)
        return name

    def put_and_prove(self, key: str, data: Data, digest: str) -> None:
        """Put an object and see that it is there: its size, or all of it where the storage protects no transfer.

        ``digest`` is its SHA-256 in hexadecimal.  Raises StoreError, and Corrupt for an object that is not what was
        sent; it is removed again, so that it is in nobody's way.
        """
        store = self.store
        store.put(key, data)
        try:
            if store.stat(key) != sum(map(len, parts_of(data))):
                raise Corrupt(f"{key} has another size than was sent", kind="object", object_id=digest)
            if not store.capabilities.verified_put and sha256(store.get(key)).hexdigest() != digest:
                raise Corrupt(f"{key} reads back differently than it was sent", kind="object", object_id=digest)
        except Corrupt:
            with suppress(StoreError):
                store.delete(key)
            raise

    def exclude_missing_packs(self, names: Iterable[str] = ()) -> int:
        """Take the blobs of packs that are not there for unknown, so that they are stored again; return how many packs.

        ``names`` are packs found missing before; where a listing costs next to nothing, the storage is asked too.
        """
        index = self.index
        index.settle()
        missing = {number for name in names if (number := index.number(bytes.fromhex(name))) is not None}
        if self.lists_at_once:
            stored = self.ids(DATA)
            missing |= {number for number, pack in enumerate(index.packs) if pack.hex() not in stored}
        index.excluded = missing
        return len(missing)

    def remove_object(self, kind: Kind, object_id: str) -> None:
        """Remove an object; one that is not there is fine."""
        self.store.delete(object_key(kind, object_id))
        if self.cache:
            self.cache.remove(kind, object_id)

    # ------------------------------------------------------------------ index

    @property
    def index(self) -> Index:
        """The loaded index; :meth:`load_index` first."""
        if self._index is None:
            raise RuntimeError("the index is not loaded")
        return self._index

    def load_index(self, on_damage: Callable[[Corrupt], None] | None = None) -> Index:
        """Read every index object, through the cached table where it fits.

        ``on_damage`` is told of unreadable index objects, which are then left out; without it Corrupt is raised.
        """
        listed = set(self.ids(INDEX))
        known: set[str] = set()
        index: Index | None = None
        if self.cache is not None:
            loaded = Table.load(self.cache.table_path, self.key)
            if loaded is not None and loaded[1] <= listed:
                index, known = Index(loaded[0]), loaded[1]
        if index is None:
            index = Index()
        complete = True
        for name in sorted(listed - known):
            try:
                for pack_id, entries in decode_index(self.load_object(INDEX, name)):
                    index.add(pack_id, entries)
                known.add(name)
            except ObjectMissing:
                continue
            except Corrupt as error:
                error.object_id = error.object_id or name
                if on_damage is None:
                    raise Corrupt(f"index/{name}: {error}", kind="index", object_id=name) from error
                on_damage(error)
                complete = False
        index.settle()
        self.use_index(index, known if complete else None)
        return index

    def refresh_index(self) -> None:
        """Load the index again if its objects are not those it was made of: one listing otherwise.  StoreError."""
        if self._index is None or self._index_ids is None or self._index_ids != set(self.ids(INDEX)):
            self.load_index()

    def use_index(self, index: Index, index_ids: set[str] | None) -> None:
        """Take ``index`` as the repository's, made of exactly these index objects; keep its table if it is new.

        None stands for an index of which parts could not be read: no table is kept of it, nor of what is added.
        """
        self._index, self._index_ids = index, index_ids if index_ids is None else set(index_ids)
        self._windows.clear()
        self._pack_sizes.clear()
        if self.cache is None or not index_ids:
            return
        if self._caches_files:
            self.cache.keep_only(INDEX, index_ids)
            self.cache.keep_only(DATA, {pack.hex() for pack in index.packs})
        loaded = index.table
        if loaded.count and not loaded.is_mapped and len(index) == loaded.count:
            try:
                loaded.save(self.cache.table_path, self.key, index_ids)
            except OSError:
                return
            mapped = Table.load(self.cache.table_path, self.key)
            if mapped is not None and mapped[1] == index_ids:
                index.table = mapped[0]

    def extend_index(self, packs: list[tuple[str, bytes]], index_ids: list[str]) -> None:
        """Add packs that were stored and indexed by ``index_ids``."""
        index = self.index
        for pack_id, header in packs:
            index.add(bytes.fromhex(pack_id), header)
        index.settle()
        self.use_index(index, None if self._index_ids is None else self._index_ids | set(index_ids))

    # ------------------------------------------------------------------ packs and blobs

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

    def close_listing(self) -> None:
        """Leave out of all that is listed from now on the snapshots others store later.

        Called before the index is loaded: they may need index objects that are stored with them.
        """
        self._horizon = set(self.ids(SNAPSHOTS))

    def raw_snapshots(self, on_damage: Callable[[Corrupt], None] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (id, JSON) of every snapshot.

        ``on_damage`` is told of unreadable ones, which are left out; without it Corrupt is raised.
        """
        listed = self.ids(SNAPSHOTS)
        if self._caches_files and self.cache:
            self.cache.keep_only(SNAPSHOTS, listed)
        for name in sorted(listed if self._horizon is None else self._horizon & listed.keys()):
            try:
                yield name, self.load_object(SNAPSHOTS, name)
            except ObjectMissing:
                continue
            except Corrupt as error:
                if on_damage is None:
                    raise
                on_damage(error)

    def snapshots(self, on_damage: Callable[[Corrupt], None] | None = None) -> list[Snapshot]:
        """Return every snapshot, oldest first; ``on_damage`` as for :meth:`raw_snapshots`."""
        found: list[Snapshot] = []
        for name, payload in self.raw_snapshots(on_damage):
            try:
                found.append(decode_snapshot(payload, name))
            except Corrupt as error:
                if on_damage is None:
                    raise
                on_damage(error)
        found.sort(key=lambda snapshot: (snapshot.instant, snapshot.id))
        return found


def find_key(store: ObjectStore, password: str, hint: str = "") -> tuple[Key, str]:
    """Return the master key and the id of the key file that ``password`` opens.

    At most twenty key files are tried, the hinted one first.  A malformed one is passed over, so that it
    cannot lock everybody out.  Raises RepositoryMissing, WrongKey, KeyRejected, StoreError.
    """
    names = [info.key.rsplit("/", 1)[-1] for info in store.list(KEYS) if 0 < info.size <= keys.MAX_KEY_FILE]
    names = sorted((n for n in names if is_id(n)), key=lambda n: (n != hint, n))
    if not names:
        if not _exists(store, CONFIG):
            raise RepositoryMissing("there is no repository at this place: it has no config and no keys")
        raise WrongKey("the repository has no key at all")
    rejected: KeyRejected | None = None
    for name in names[: keys.MAX_KEYS_TRIED]:
        try:
            return keys.unwrap(store.get(object_key(KEYS, name)), password), name
        except (WrongKey, ObjectMissing):
            continue
        except KeyRejected as error:
            rejected = KeyRejected(f"keys/{name}: {error}")
    if rejected is not None:
        raise rejected
    raise WrongKey("no key of this repository opens with this password")


def _left_by_init(store: ObjectStore, password: str) -> tuple[Key, str] | None:
    """Return the key and its id where there is nothing but that key, None where there is nothing at all.

    Raises RepositoryExists for anything else.
    """
    if not any(_exists(store, name) for name in (CONFIG, SPARE_CONFIG)):
        used = any(True for kind in (SNAPSHOTS, INDEX, DATA) for _ in store.list(kind))
        if not used and not any(True for _ in store.list(KEYS)):
            return None
        with suppress(WrongKey, KeyRejected, RepositoryMissing):
            if not used:
                return find_key(store, password)
    raise RepositoryExists("there is a repository, or part of one, at this place already")


def _tree_name(tree_id: str) -> bytes:
    if not is_id(tree_id):
        raise Corrupt("a tree id that is none", kind="tree", object_id=tree_id[:80])
    return bytes.fromhex(tree_id)


def _read_config(store: ObjectStore) -> bytes:
    """Return the sealed config, or the one that an upgrade which was killed left beside its place."""
    try:
        return store.get(CONFIG)
    except ObjectMissing as error:
        try:
            return store.get(SPARE_CONFIG)
        except ObjectMissing:
            raise RepositoryMissing("there is no repository at this place: config is missing") from error


def _exists(store: ObjectStore, key: str) -> bool:
    try:
        store.stat(key)
    except ObjectMissing:
        return False
    return True


def now_text() -> str:
    """Return the present moment as RFC 3339 text in UTC with nanoseconds."""
    ns = time.time_ns()
    stamp = datetime.fromtimestamp(ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{ns % 1_000_000_000:09d}Z"

"""An open repository: made or unlocked, with its index and its snapshots; objects and blobs are the modules below."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from backups.engine import keys, locks
from backups.engine.blobs import Blobs
from backups.engine.cache import Cache
from backups.engine.chunker import Chunker, random_polynomial
from backups.engine.crypto import Key
from backups.engine.errors import (
    Corrupt,
    Unsupported,
)
from backups.engine.index import Index
from backups.engine.index_file import decode_index
from backups.engine.layout import (
    CONFIG,
    DATA,
    INDEX,
    KEYS,
    SNAPSHOTS,
    folders,
    is_id,
    object_key,
)
from backups.engine.objects import Config
from backups.engine.snapshot import Snapshot, decode_snapshot
from backups.engine.table import Table
from backups.engine.times import now_text
from backups.engine.unlocking import find_key, left_by_init, read_config
from destinations.storage.base import ObjectStore, PreparesFolders
from destinations.storage.errors import ObjectMissing

VERSIONS = (1, 2)


class Repository(Blobs):
    """A repository that was unlocked.  Made by :meth:`create` and :meth:`open`."""

    def __init__(
        self, store: ObjectStore, key: Key, config: Config, key_id: str, cache_root: Path | None = None
    ) -> None:
        cache = Cache(cache_root, config.id) if cache_root is not None else None
        super().__init__(store, key, config, cache)
        self.key_id = key_id
        self.chunker = Chunker(int(config.chunker_polynomial, 16))
        self._index_ids: set[str] | None = set()
        self._horizon: set[str] | None = None

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
        left = left_by_init(store, password)
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
        sealed = read_config(store)
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
        twin._forget_what_was_read()
        return twin

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def locked(
        self, *, exclusive: bool, wait: float = 0.0, times: locks.LockTimes = locks.LockTimes()
    ) -> AbstractContextManager[locks.Lock]:
        """Hold the format's lock for the length of a ``with`` block; see :func:`locks.held`."""
        return locks.held(self, exclusive=exclusive, wait=wait, times=times)

    # ------------------------------------------------------------------ index

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
        self._forget_what_was_read()
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

    # ------------------------------------------------------------------ snapshots

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

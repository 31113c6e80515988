"""Objects of a repository by their names: sealed, stored, seen to be there, fetched and checked.

Everything read is checked before it is believed: the hash of an object against its name, the tag of an envelope.  What
fails is fetched once more, then Corrupt.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256

import msgspec

from backups.engine.blob import Codec, decompress
from backups.engine.cache import Cache
from backups.engine.crypto import Key
from backups.engine.errors import Corrupt
from backups.engine.layout import INDEX, LOCKS, SNAPSHOTS, Kind, is_id, object_key
from destinations.storage.base import Data, ObjectStore, parts_of
from destinations.storage.errors import StoreError

MAX_OBJECT = 256 * 1024 * 1024
"""Bytes; the largest decoded config, index, snapshot or lock a reader takes."""
_COMPRESSED = b"\x02"


class Config(msgspec.Struct):
    """The config object: format version, id, and the chunker's polynomial in hexadecimal."""

    version: int
    id: str
    chunker_polynomial: str


class Objects:
    """The objects in a store that one master key seals."""

    def __init__(self, store: ObjectStore, key: Key, config: Config, cache: Cache | None) -> None:
        self.store = store
        self.key = key
        self.config = config
        self.codec = Codec()
        self.cache = cache
        self._caches_files = cache is not None and not store.capabilities.forkable

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

    def remove_object(self, kind: Kind, object_id: str) -> None:
        """Remove an object; one that is not there is fine."""
        self.store.delete(object_key(kind, object_id))
        if self.cache:
            self.cache.remove(kind, object_id)

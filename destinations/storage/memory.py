"""A store in memory: the reference implementation of the contract, and a quick one for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from destinations.storage.base import Capabilities, Data, ObjectInfo, parts_of
from destinations.storage.errors import ObjectMissing, ShortRead
from destinations.storage.names import check_key, check_prefix, check_range


class MemoryStore:
    """Keeps every object as ``bytes`` in a dictionary.  Safe to use from several threads."""

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        """Use ``objects`` (shared with the caller) as the storage, or a new dictionary."""
        self._objects = {} if objects is None else objects
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(connections=0)

    def put(self, key: str, data: Data) -> None:
        """Store the object; ``data`` may be changed afterwards."""
        check_key(key)
        whole = b"".join(parts_of(data))
        with self._lock:
            self._objects[key] = whole

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the range; ObjectMissing, ShortRead."""
        check_range(offset, length)
        whole = self._whole(key)
        end = len(whole) if length is None else offset + length
        if end > len(whole) or offset > len(whole):
            raise ShortRead(f"{key} has {len(whole)} bytes, not {max(end, offset)}", key=key)
        return whole[offset:end]

    def stat(self, key: str) -> int:
        """Return the size in bytes; ObjectMissing."""
        return len(self._whole(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects there were when the listing began."""
        folder = check_prefix(prefix)
        start = f"{folder}/" if folder else ""
        with self._lock:
            found = [
                ObjectInfo(key, len(whole)) for key, whole in self._objects.copy().items() if key.startswith(start)
            ]
        return iter(found)

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        check_key(key)
        with self._lock:
            self._objects.pop(key, None)

    def prepare(self, folders: Iterable[str]) -> None:
        """Check the names; memory needs no folders."""
        for folder in folders:
            check_prefix(folder)

    def close(self) -> None:
        """Nothing to free."""

    def _whole(self, key: str) -> bytes:
        check_key(key)
        with self._lock:
            try:
                return self._objects[key]
            except KeyError:
                raise ObjectMissing(f"{key} is not there", key=key) from None

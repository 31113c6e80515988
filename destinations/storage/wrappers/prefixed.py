"""A folder of a store, seen as a store of its own."""

from __future__ import annotations

from collections.abc import Iterator

from destinations.storage.base import ObjectInfo, ObjectStore
from destinations.storage.names import check_key, check_prefix
from destinations.storage.wrappers.base import Wrapper


class PrefixedStore(Wrapper):
    """Puts ``prefix/`` before every key."""

    def __init__(self, inner: ObjectStore, prefix: str) -> None:
        """Show the folder ``prefix`` of ``inner``; "" shows all of it."""
        super().__init__(inner)
        folder = check_prefix(prefix)
        self._start = f"{folder}/" if folder else ""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object below ``prefix``, named as this store names it."""
        for key, size in super().list(prefix):
            yield ObjectInfo(key[len(self._start) :], size)

    def _inner_key(self, key: str) -> str:
        return self._start + check_key(key)

    def _inner_folder(self, folder: str) -> str:
        return self._start + check_prefix(folder)

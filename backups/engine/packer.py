"""From sealed blobs to stored packs.

A :class:`PackWriter` fills packs, tree and data apart, and hands full ones to a :class:`Carrier`, whose
threads name, store and where needed read them back while the caller goes on.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from backups.engine.blob import BlobType, Codec, seal_blob
from backups.engine.crypto import Buffer
from backups.engine.layout import DATA, object_key
from backups.engine.pack import DEFAULT_PACK_SIZE, PackBuilder
from backups.engine.repository import Repository
from destinations.storage.base import Data

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

OnStored = Callable[[str, bytes, int], None]
"""Told of a stored pack: its id, its header in plain, its size in bytes."""


class Carrier:
    """Stores finished packs in ``threads`` threads; at most that many are under way.

    ``on_stored`` is called in the caller's thread, from :meth:`take`, :meth:`collect` and :meth:`drain`.
    What a put raises is raised there too.
    """

    def __init__(self, repository: Repository, on_stored: OnStored, *, threads: int = 1) -> None:
        self._repository = repository
        self._on_stored = on_stored
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: deque[Future[tuple[str, bytes, int]]] = deque()

    def take(self, builder: PackBuilder) -> None:
        """Start storing a pack; wait first while too many are under way."""
        self.run(lambda: self._finish(builder))

    def run(self, work: Callable[[], tuple[str, bytes, int]]) -> None:
        """Start a piece of work that ends in a stored pack."""
        while len(self._under_way) >= self._threads:
            self._on_stored(*self._under_way.popleft().result())
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # slow to import

            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="carrier")
        self._under_way.append(self._pool.submit(work))

    def collect(self) -> None:
        """Report what is stored by now."""
        while self._under_way and self._under_way[0].done():
            self._on_stored(*self._under_way.popleft().result())

    def drain(self) -> None:
        """Wait until everything is stored."""
        while self._under_way:
            self._on_stored(*self._under_way.popleft().result())

    def close(self) -> None:
        """Stop the threads; what is under way is finished, nothing is reported."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        self._under_way.clear()

    def _finish(self, builder: PackBuilder) -> tuple[str, bytes, int]:
        pack = builder.finish(self._repository.key)
        store_bytes(self._repository, pack.id, pack.parts)
        return pack.id, pack.header, pack.size


def store_bytes(repository: Repository, pack_id: str, data: Data) -> None:
    """Put a pack and make sure that it is there.  Raises StoreError, Corrupt."""
    repository.put_and_prove(object_key(DATA, pack_id), data, pack_id)


class PackWriter:
    """Fills packs for one process.

    ``deliver`` takes each full builder.  ``spread`` is how many data packs are filled at once; a blob goes to
    one of them by chance, which hides from an observer of the storage how large the chunks of one file are.
    """

    def __init__(
        self,
        repository: Repository,
        deliver: Callable[[PackBuilder], None],
        *,
        codec: Codec | None = None,
        target: int = DEFAULT_PACK_SIZE,
        spread: int = 1,
    ) -> None:
        self._key = repository.key
        self._deliver = deliver
        self._target = target
        self._codec = codec or repository.codec
        self._compress = repository.version >= 2
        self._open: dict[BlobType, list[PackBuilder]] = {
            BlobType.DATA: [PackBuilder(BlobType.DATA) for _ in range(spread)],
            BlobType.TREE: [PackBuilder(BlobType.TREE)],
        }

    def seal(self, kind: BlobType, plain: Buffer) -> tuple[bytes, int]:
        """Seal a blob as this repository stores it; safe in any thread."""
        return seal_blob(self._key, self._codec, kind, plain, compress=self._compress)

    def add(self, kind: BlobType, blob_id: bytes, plain: Buffer) -> int:
        """Seal and add a blob; return the bytes it takes in the pack."""
        return self.add_sealed(kind, blob_id, *seal_blob(self._key, self._codec, kind, plain, compress=self._compress))

    def add_sealed(self, kind: BlobType, blob_id: bytes, sealed: bytes, plain_size: int) -> int:
        """Add a blob that is sealed already; return the bytes it takes in the pack, entry included."""
        builders = self._open[kind]
        slot = os.urandom(1)[0] % len(builders) if len(builders) > 1 else 0
        builder = builders[slot]
        target = self._target
        if builder.size and len(sealed) >= target:
            alone = PackBuilder(kind)
            stored = alone.add(blob_id, sealed, plain_size)
            self._deliver(alone)
            return stored
        stored = builder.add(blob_id, sealed, plain_size)
        if builder.is_full(target):
            builders[slot] = PackBuilder(kind)
            self._deliver(builder)
        return stored

    def adopt(self, builder: PackBuilder) -> None:
        """Take over another writer's unfinished pack, joined with ours if both fit in one."""
        ours = self._open[builder.kind]
        if not ours[0].size or ours[0].size + builder.size <= self._target:
            ours[0].parts.extend(builder.parts)
            ours[0].header.extend(builder.header)
            ours[0].size += builder.size
        else:
            self._deliver(builder)

    def unfinished(self) -> list[PackBuilder]:
        """Give away what is in no full pack yet."""
        left = [builder for builders in self._open.values() for builder in builders if builder.size]
        for kind, builders in self._open.items():
            self._open[kind] = [PackBuilder(kind) for _ in builders]
        return left

    def flush(self) -> None:
        """Deliver every unfinished pack, joined where they fit."""
        for builder in self.unfinished():
            self.adopt(builder)
        for builder in self.unfinished():
            self._deliver(builder)

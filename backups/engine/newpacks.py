"""The packs a maintenance run makes: each is noted, and named by an index object in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from backups.engine.index_file import IndexWriter
from backups.engine.layout import INDEX
from backups.engine.packer import Carrier, PackWriter
from backups.engine.repository import Repository

_CHECKPOINT_SECONDS = 600


class NewPacks:
    """Takes note of stored packs; saves an index object whenever there is enough for one, or ten minutes passed.

    So little of a long run is lost when it is killed: what an index object names is not stored again.
    """

    def __init__(self, repository: Repository) -> None:
        self.all: list[tuple[str, bytes]] = []
        """Id and plain header of every pack."""
        self._repository = repository
        self._writer = IndexWriter(lambda payload: repository.save_object(INDEX, payload))
        self._saved_at = time.monotonic()
        self._unsaved: list[tuple[str, bytes]] = []

    def stored(self, pack_id: str, header: bytes, size: int) -> None:
        """Note a pack that was stored, of ``size`` bytes."""
        self.all.append((pack_id, header))
        self._writer.add(pack_id, header)
        if time.monotonic() - self._saved_at > _CHECKPOINT_SECONDS:
            self._saved_at = time.monotonic()
            self._writer.flush()

    def unsaved(self) -> list[tuple[str, bytes]]:
        """Give away the packs that no index object names yet."""
        self._unsaved = self._writer.take()
        return self._unsaved

    def keep(self) -> None:
        """Save the index of everything, also of what was given away: for a run that was canceled."""
        for pack_id, header in self._unsaved:
            self._writer.add(pack_id, header)
        self._writer.flush()

    def settle(self) -> None:
        """Save the index of everything, and make the open repository know it.  Raises StoreError."""
        self._writer.flush()
        if self.all:
            self._repository.extend_index(self.all, self._writer.saved)


@contextmanager
def packing(repository: Repository) -> Iterator[tuple[PackWriter, NewPacks]]:
    """Fill packs inside a ``with`` block; at its end all are stored and noted, but not yet settled."""
    packs = NewPacks(repository)
    carrier = Carrier(repository, packs.stored)
    packer = PackWriter(repository, carrier.take)
    try:
        yield packer, packs
        packer.flush()
        carrier.drain()
    finally:
        carrier.close()

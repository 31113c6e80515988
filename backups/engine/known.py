"""What is stored already, or being stored by this run: shared between the processes of one backup."""

from __future__ import annotations

import mmap
import struct
import threading

from backups.engine.blob import BlobType
from backups.engine.index import Index

_SLOT = 32
_SIZES = (1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22)
"""Slots of the tables; the next is used when one is nearly full, so memory follows the need."""
_PROBES = 48
_EMPTY = bytes(_SLOT)
_COUNT = struct.Struct("=I")


class Claims:
    """The ids this run has taken on itself to store.

    With ``shared`` they stand in anonymous memory that forked processes share.  Two processes may by a rare
    chance both claim an id; then it is stored twice, which the format allows.  An id is never reported as
    claimed unless somebody did claim it.
    """

    def __init__(self, *, shared: bool) -> None:
        self._private: set[bytes] = set()
        self._guard = threading.Lock()
        self._tables = [mmap.mmap(-1, size * _SLOT) for size in _SIZES] if shared else []
        self._counts = mmap.mmap(-1, 4 * len(_SIZES)) if shared else None

    def claim(self, key: bytes) -> bool:
        """Claim a 32-byte key; False if it was claimed before."""
        with self._guard:
            if self._counts is None:
                if key in self._private:
                    return False
                self._private.add(key)
                return True
            return self._claim_shared(key, self._counts)

    def _claim_shared(self, key: bytes, counts: mmap.mmap) -> bool:
        start = int.from_bytes(key[:4], "big")
        for level, size in enumerate(_SIZES):
            table = self._tables[level]
            count = _COUNT.unpack_from(counts, 4 * level)[0]
            slot = start % size
            for _ in range(_PROBES):
                at = slot * _SLOT
                found = table[at : at + _SLOT]
                if found == key:
                    return False
                if found == _EMPTY:
                    if count * 4 >= size * 3:
                        break
                    table[at : at + _SLOT] = key
                    _COUNT.pack_into(counts, 4 * level, count + 1)
                    return True
                slot = (slot + 1) % size
        if key in self._private:
            return False
        self._private.add(key)
        return True


class Known:
    """Answers for every blob: must it be stored?"""

    def __init__(self, index: Index, *, shared: bool) -> None:
        self.has = index.tester()
        """Tell whether the repository held a blob before the run: ``has(kind, id)``."""
        self._claims = Claims(shared=shared)

    def claim(self, kind: BlobType, blob_id: bytes) -> bool:
        """Tell whether the caller must store this blob; whoever asks next is told no."""
        if self.has(kind, blob_id):
            return False
        # One bit apart: the same bytes stored as data and as tree are two blobs.
        key = blob_id if kind == BlobType.DATA else blob_id[:31] + bytes([blob_id[31] ^ 1])
        return self._claims.claim(key)

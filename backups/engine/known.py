"""What is stored already, or being stored by this run: shared between the processes of one backup."""

from __future__ import annotations

import mmap
import threading

from backups.engine.blob import BlobType
from backups.engine.index import Index

_SLOT = 32
_BUCKET = 16 * _SLOT
_SIZES = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18)
"""Buckets of the tables; the next table takes what a full bucket cannot, so memory follows the need."""


class Claims:
    """The ids this run has taken on itself to store.

    With ``shared`` they stand in anonymous memory that forked processes share.  Two processes may by a rare
    chance both claim an id; then it is stored twice, which the format allows.  An id is never reported as
    claimed unless somebody did claim it.
    """

    def __init__(self, *, shared: bool) -> None:
        self._private: set[bytes] = set()
        self._guard = threading.Lock()
        self._tables = [(size, mmap.mmap(-1, size * _BUCKET)) for size in _SIZES] if shared else []

    def claim(self, key: bytes) -> bool:
        """Claim a 32-byte key; False if it was claimed before."""
        number = int.from_bytes(key[:4], "big")
        with self._guard:
            for size, table in self._tables:
                start = number % size * _BUCKET
                bucket = table[start : start + _BUCKET]
                found = bucket.find(key)
                if found >= 0 and found % _SLOT == 0:
                    return False
                # Buckets are filled from the left, and nothing ever leaves one.
                used = -(-len(bucket.rstrip(b"\0")) // _SLOT) * _SLOT
                if used < _BUCKET:
                    table[start + used : start + used + _SLOT] = key
                    return True
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
        return self._claims.claim(blob_id[:31] + bytes([blob_id[31] ^ 1]) if kind else blob_id)

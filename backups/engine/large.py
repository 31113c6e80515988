"""Large files: cut into chunks that threads hash, compress and seal while the next ones are read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from backups.engine.blob import BlobType
from backups.engine.chunker import Chunker
from backups.engine.errors import SourceProblem
from backups.engine.known import Known
from backups.engine.packer import PackWriter
from backups.engine.ports import CancelToken, SourceFile

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

BLOCK = 4 * 1024 * 1024
"""Bytes read from a large file at a time."""
AHEAD = 12 * 1024 * 1024
"""Bytes of chunks that may wait, so that one that takes long to compress keeps no thread idle."""


class _Stored(NamedTuple):
    blob_id: bytes
    sealed: bytes | None
    plain_size: int
    size: int


class LargeFiles:
    """Stores the content of large files for one process.

    ``count(plain, packed)`` is told of every blob that was stored, in bytes; ``alive`` is called for every chunk.
    """

    def __init__(
        self,
        chunker: Chunker,
        known: Known,
        packer: PackWriter,
        *,
        threads: int,
        cancel: CancelToken,
        count: Callable[[int, int], None],
        alive: Callable[[], None],
    ) -> None:
        self._chunker = chunker
        self._known = known
        self._packer = packer
        self._threads = threads
        self._cancel = cancel
        self._count = count
        self._alive = alive
        self._executor: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Stop the threads."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def save(self, file: SourceFile, head: bytes) -> tuple[bytes, int]:
        """Store ``head`` and what else ``file`` gives; return the ids of the blobs, joined, and the size in bytes."""
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor  # slow to import

            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="seal")
        ids: list[bytes] = []
        total = 0
        under_way: deque[tuple[Future[_Stored], int]] = deque()
        ahead = 0
        try:
            for chunk in self._chunks(file, head):
                total += len(chunk)
                under_way.append((self._executor.submit(self._seal_chunk, chunk), len(chunk)))
                ahead += len(chunk)
                del chunk
                while len(under_way) > self._threads + 1 and (ahead > AHEAD or under_way[0][0].done()):
                    future, size = under_way.popleft()
                    ids.append(self._take(future.result()))
                    ahead -= size
                if self._cancel.is_set:
                    self._cancel.check()
            while under_way:
                ids.append(self._take(under_way.popleft()[0].result()))
        finally:
            # What was claimed must be stored, even if the rest of the file cannot be read: others may refer to it.
            for future, _ in under_way:
                if not future.cancel():
                    self._take(future.result())
        return b"".join(ids), total

    def _chunks(self, file: SourceFile, head: bytes) -> Iterator[bytes]:
        next_cut = self._chunker.next_cut
        carry = head
        seen = 0
        while True:
            block, final = _read_block(file)
            data = carry + block if carry else block
            del block
            view = memoryview(data)
            start, stop = 0, len(data)
            while start < stop and (cut := next_cut(view, start, stop, final=final, seen=seen)) >= 0:
                yield bytes(view[start:cut])
                start = cut
                seen = 0
            if final:
                return
            carry = bytes(view[start:])
            seen = len(carry)

    def _seal_chunk(self, chunk: bytes) -> _Stored:
        blob_id = sha256(chunk).digest()
        size = len(chunk)
        if not self._known.claim(BlobType.DATA, blob_id):
            return _Stored(blob_id, None, 0, size)
        sealed, plain_size = self._packer.seal(BlobType.DATA, chunk)
        return _Stored(blob_id, sealed, plain_size, size)

    def _take(self, stored: _Stored) -> bytes:
        if stored.sealed is not None:
            packed = self._packer.add_sealed(BlobType.DATA, stored.blob_id, stored.sealed, stored.plain_size)
            self._count(stored.size, packed)
        self._alive()
        return stored.blob_id


def _read_block(file: SourceFile) -> tuple[bytes, bool]:
    """Return the next block and whether the file ends with it; a pipe's small pieces are joined."""
    first = read_from(file, BLOCK)
    if len(first) == BLOCK:
        return first, False
    pieces, have = [first], len(first)
    while have < BLOCK:
        piece = read_from(file, BLOCK - have)
        if not piece:
            return b"".join(pieces) if len(pieces) > 1 else first, True
        pieces.append(piece)
        have += len(piece)
    return b"".join(pieces), False


def read_from(file: SourceFile, size: int) -> bytes:
    """Read; what fails here, and only here, is the source's fault and costs one item."""
    try:
        return file.read(size)
    except OSError as error:
        raise SourceProblem(error.strerror or str(error)) from error

"""Moves stored blobs into new packs, of the same repository or of another one.

Every blob is opened and compared with its id on the way.  Inside a repository its sealed bytes then go on as
they are; into another one the frame is sealed again with the other key, without compressing it again.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import NamedTuple

import msgspec

from backups.engine.blob import MAX_BLOB, BlobType, Codec, decompress, open_blob
from backups.engine.errors import Canceled, Corrupt
from backups.engine.pack import DEFAULT_PACK_SIZE, PackBuilder
from backups.engine.packer import Carrier, OnStored, PackWriter
from backups.engine.pool import Handler, Pool, Report, default_workers
from backups.engine.records import Location
from backups.engine.repository import Repository
from backups.engine.watch import Watch
from destinations.storage.errors import ObjectMissing, ShortRead

_GAP = 128 * 1024
"""Bytes that are read and thrown away rather than asking the storage once more."""
_RUN = 32 * 1024 * 1024
_FINISH = -1
_PORTION = 512
"""Blobs of one pack that a helper moves before it asks for more."""

Stored = tuple[str, bytes, int]
Task = tuple[int, "array[int]"]
"""A pack's number in the source's index, and the records of the blobs to move from it."""


class Piece(NamedTuple):
    """A blob to move, and where it lies."""

    kind: BlobType
    id: bytes
    place: Location


class TransferOptions(msgspec.Struct, frozen=True):
    """How blobs are moved.

    ``compress_trees`` and ``compress_data`` compress what is stored uncompressed.  ``workers`` helper processes
    (None = by storage and machine, 0 = none).
    """

    codec: Codec = msgspec.field(default_factory=Codec)
    pack_size: int = DEFAULT_PACK_SIZE
    compress_trees: bool = True
    compress_data: bool = False
    workers: int | None = None


class Mover:
    """Moves pieces from ``source`` into packs of ``target``, which may be the same repository."""

    def __init__(
        self, source: Repository, target: Repository, deliver: Callable[[PackBuilder], None], options: TransferOptions
    ) -> None:
        self._source = source
        self._target = target
        self._options = options
        self.packer = PackWriter(target, deliver, codec=options.codec, target=options.pack_size)

    def pieces(self, task: Task) -> list[Piece]:
        """Look the records of a task up."""
        table = self._source.index.table
        found = [Piece(*table.key(number), table.location(number)) for number in task[1]]
        return sorted(found, key=lambda piece: piece.place.offset)

    def fetch(self, pack: int, pieces: list[Piece]) -> list[tuple[Piece, bytes | None]]:
        """Read pieces of one pack, sorted by offset; see :func:`read_pieces`."""
        return list(read_pieces(self._source, self._source.index.packs[pack].hex(), pieces))

    def move(self, fetched: Iterable[tuple[Piece, bytes | None]]) -> int:
        """Put pieces into packs; return their stored bytes.

        A copy that is damaged is replaced by any other one the source has.  Raises Corrupt if there is none.
        """
        size = 0
        for piece, sealed in fetched:
            if sealed is None or not self._moved(piece, sealed):
                self.packer.add(piece.kind, piece.id, self._source.load_blob(piece.kind, piece.id))
            size += piece.place.length
        return size

    def _moved(self, piece: Piece, sealed: bytes) -> bool:
        """Move a piece; False if these bytes are damaged."""
        try:
            self._move(piece, sealed)
        except Corrupt:
            return False
        return True

    def _move(self, piece: Piece, sealed: bytes) -> None:
        kind, blob_id, place = piece
        same_key = self._source.key is self._target.key
        compress = self._target.version >= 2 and self._wants_compression(kind)
        if same_key and (place.plain_size or not compress):
            open_blob(self._source.key, sealed, place.plain_size, blob_id)
            self.packer.add_sealed(kind, blob_id, sealed, place.plain_size)
        elif place.plain_size and self._target.version >= 2:
            self.packer.add_sealed(kind, blob_id, self._reseal(piece, sealed), place.plain_size)
        else:
            self.packer.add(kind, blob_id, open_blob(self._source.key, sealed, place.plain_size, blob_id))

    def _wants_compression(self, kind: BlobType) -> bool:
        return self._options.compress_trees if kind == BlobType.TREE else self._options.compress_data

    def _reseal(self, piece: Piece, sealed: bytes) -> bytes:
        """Seal a compressed blob's frame with the target's key."""
        frame = self._source.key.open(sealed)
        if sha256(decompress(frame, piece.place.plain_size)).digest() != piece.id:
            raise Corrupt(f"blob {piece.id.hex()} has other content than its name says", kind="blob")
        again = self._target.key.seal(frame)
        if self._target.key.open(again) != frame:
            raise Corrupt("what was just sealed does not open to the same bytes; the memory of this machine may be bad")
        return again


def read_pieces(repository: Repository, pack_id: str, pieces: list[Piece]) -> Iterator[tuple[Piece, bytes | None]]:
    """Yield the sealed bytes of pieces, sorted by offset, with few requests; None for what the pack does not have.

    Nothing is opened or compared.  Raises StoreError, Corrupt for a blob of impossible length.
    """
    for run in _runs(pieces):
        start = run[0].place.offset
        try:
            data = repository.read_pack(pack_id, start, run[-1].place.offset + run[-1].place.length - start)
        except (ObjectMissing, ShortRead):
            if len(run) == 1:
                yield run[0], None
                continue
            for piece in run:
                yield from read_pieces(repository, pack_id, [piece])
            continue
        for piece in run:
            at = piece.place.offset - start
            yield piece, data[at : at + piece.place.length]


def _runs(pieces: list[Piece]) -> Iterator[list[Piece]]:
    """Group pieces, sorted by offset, that are worth one read."""
    run: list[Piece] = []
    for piece in pieces:
        place = piece.place
        if place.length > MAX_BLOB:
            raise Corrupt(f"blob {piece.id.hex()} is beyond the limit", kind="blob", object_id=piece.id.hex())
        if run:
            end = run[-1].place.offset + run[-1].place.length
            if place.offset - end > _GAP or place.offset + place.length - run[0].place.offset > _RUN:
                yield run
                run = []
        run.append(piece)
    if run:
        yield run


def transfer(
    source: Repository,
    target: Repository,
    tasks: list[Task],
    on_stored: OnStored,
    *,
    options: TransferOptions | None = None,
    watch: Watch | None = None,
    item: str = "copying blobs",
) -> None:
    """Move the blobs of ``tasks`` into new packs of ``target``; ``on_stored`` is told of each once it is durable.

    Raises Corrupt when a blob is readable nowhere, StoreError; Canceled, after reporting the packs under way.
    """
    options = options or TransferOptions()
    forkable = source.store.capabilities.forkable and target.store.capabilities.forkable
    workers = (default_workers() if forkable else 0) if options.workers is None else options.workers
    carrier = Carrier(target, on_stored, threads=1 if forkable else _connections(target))
    if workers > 1:
        tasks = list(_in_portions(source, tasks))
    run = _Transfer(source, target, tasks, on_stored, options, watch or Watch(), item)
    try:
        if workers > 1 and len(tasks) > workers:
            run.with_helpers(carrier, workers)
        else:
            run.alone(carrier, 0 if forkable else _connections(source))
        carrier.drain()
    except Canceled:
        carrier.drain()
        raise
    finally:
        carrier.close()


def _in_portions(source: Repository, tasks: list[Task]) -> Iterator[Task]:
    """Cut tasks, so that helpers share even a single pack of many blobs."""
    location = source.index.table.location
    for pack, numbers in tasks:
        if len(numbers) <= _PORTION:
            yield pack, numbers
            continue
        ordered = array("I", sorted(numbers, key=lambda number: location(number).offset))
        for start in range(0, len(ordered), _PORTION):
            yield pack, ordered[start : start + _PORTION]


def _connections(repository: Repository) -> int:
    return min(repository.store.capabilities.connections or 4, 4)


class _Transfer(msgspec.Struct):
    """One run of :func:`transfer`."""

    source: Repository
    target: Repository
    tasks: list[Task]
    on_stored: OnStored
    options: TransferOptions
    watch: Watch
    item: str

    def alone(self, carrier: Carrier, readers: int) -> None:
        """Move everything in this process, with threads that read ahead and threads that store."""
        mover = Mover(self.source, self.target, carrier.take, self.options)
        size = 0
        for done, fetched in enumerate(_fetched(mover, self.tasks, readers)):
            self._show(done, size)
            size += mover.move(fetched)
            carrier.collect()
        mover.packer.flush()

    def with_helpers(self, carrier: Carrier, workers: int) -> None:
        """Move everything in forked helpers, each with packs of its own; join what they leave half full."""
        packer = PackWriter(self.target, carrier.take, codec=self.options.codec, target=self.options.pack_size)
        done = size = 0
        with Pool(self._make_handler, workers, tick=self.watch.check) as pool:
            for task in self.tasks:
                pool.submit(task)
            for _, (moved, stored) in pool.results():
                self._report(stored)
                done, size = done + 1, size + moved
                self._show(done, size)
            for stored, unfinished in pool.everywhere((_FINISH, array("I"))):
                self._report(stored)
                for builder in unfinished:
                    packer.adopt(builder)
        packer.flush()

    def _show(self, done: int, size: int) -> None:
        self.watch.step(self.item, done=done, total=len(self.tasks), size=size)

    def _report(self, stored: list[Stored]) -> None:
        for pack in stored:
            self.on_stored(*pack)

    def _make_handler(self) -> Handler:
        stored: list[Stored] = []
        carrier = Carrier(self.target, lambda *pack: stored.append(pack))
        mover = Mover(self.source, self.target, carrier.take, self.options)

        def taken() -> list[Stored]:
            packs = stored.copy()
            stored.clear()
            return packs

        def handle(task: Task, _: Report) -> object:
            if task[0] == _FINISH:
                carrier.drain()
                return taken(), mover.packer.unfinished()
            moved = mover.move(mover.fetch(task[0], mover.pieces(task)))
            carrier.collect()
            return moved, taken()

        return handle


def _fetched(mover: Mover, tasks: list[Task], readers: int) -> Iterator[list[tuple[Piece, bytes | None]]]:
    """Yield the pieces of each task, read ahead by ``readers`` threads."""
    if not readers:
        for task in tasks:
            yield mover.fetch(task[0], mover.pieces(task))
        return
    waiting: deque[Future[list[tuple[Piece, bytes | None]]]] = deque()
    with ThreadPoolExecutor(readers, thread_name_prefix="reader") as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(mover.fetch, task[0], mover.pieces(task)))
                if len(waiting) > readers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

"""Many blobs at once: sorted by where they lie, neighbours read together, each opened and compared with its id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backups.engine.blob import MAX_BLOB, BlobType, open_blob
from backups.engine.crypto import OVERHEAD
from backups.engine.errors import BlobMissing, Corrupt, EngineError
from backups.engine.records import Location
from backups.engine.repository import Repository
from destinations.storage.errors import ObjectMissing, ShortRead

_KIB, _MIB = 1 << 10, 1 << 20

Fetched = tuple[bytes, "bytes | EngineError"]
"""A blob's id, and its plaintext or why it cannot be had."""
_Place = tuple[int, int, int, int, bytes]


@dataclass(frozen=True, slots=True)
class Reach:
    """How reads are joined: gaps of at most ``gap`` bytes are read along, up to ``request`` bytes at once."""

    gap: int
    request: int


_NEAR = Reach(64 * _KIB, 4 * _MIB)
_FAR = Reach(_MIB, 32 * _MIB)


def reach_of(repository: Repository) -> Reach:
    """Return what suits the storage: a request to a near one costs less than the bytes between two blobs."""
    return _NEAR if repository.store.capabilities.forkable else _FAR


def plain_length(place: Location) -> int:
    """Return the plaintext length of a blob, in bytes."""
    return place.plain_size or place.length - OVERHEAD


def locate(repository: Repository, blob_id: bytes) -> Location:
    """Return where a data blob lies.  Raises BlobMissing, and Corrupt for one larger than any may be."""
    place = repository.index.find(BlobType.DATA, blob_id)
    if place is None:
        name = blob_id.hex()
        raise BlobMissing(f"data blob {name} is in no pack of the index", kind="blob", object_id=name)
    if place[2] > MAX_BLOB or place[3] > MAX_BLOB:
        raise Corrupt("a blob beyond the limit", kind="blob", object_id=blob_id.hex())
    return place


def fetch(repository: Repository, wanted: Mapping[bytes, Location], reach: Reach) -> Iterator[Fetched]:
    """Yield each of these data blobs, in the order of the packs.

    What one place does not give is looked for in every other one.  Errors of the storage that concern more than
    one object are raised.
    """
    key = repository.key
    places = sorted((*place, blob_id) for blob_id, place in wanted.items())
    for run in _runs(places, reach):
        pack, start = run[0][:2]
        try:
            data = memoryview(
                repository.read_pack(repository.index.packs[pack].hex(), start, run[-1][1] + run[-1][2] - start)
            )
        except (ObjectMissing, ShortRead):
            data = memoryview(b"")
        for _, offset, length, plain_size, blob_id in run:
            at = offset - start
            plain: bytes | EngineError
            try:
                plain = open_blob(key, data[at : at + length], plain_size, blob_id)
            except Corrupt:
                plain = _again(repository, blob_id)
            yield blob_id, plain


def _again(repository: Repository, blob_id: bytes) -> bytes | EngineError:
    try:
        return repository.load_blob(BlobType.DATA, blob_id)
    except Corrupt as error:
        return error


def _runs(places: list[_Place], reach: Reach) -> Iterator[list[_Place]]:
    """Group sorted places that are worth one read."""
    run: list[_Place] = []
    pack = start = end = -1
    for place in places:
        if run and (place[0] != pack or place[1] > end + reach.gap or place[1] + place[2] > start + reach.request):
            yield run
            run = []
        if not run:
            pack, start, end = place[0], place[1], 0
        run.append(place)
        end = max(end, place[1] + place[2])
    if run:
        yield run

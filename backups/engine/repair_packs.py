"""Saves what is still good in damaged packs, and drops the rest of them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from backups.engine.blob import MAX_BLOB, BlobType, open_blob
from backups.engine.errors import Corrupt
from backups.engine.layout import DATA
from backups.engine.newpacks import packing
from backups.engine.packer import PackWriter
from backups.engine.records import Location
from backups.engine.reindex import rewrite_index
from backups.engine.repository import Repository
from backups.engine.sweep import sweep
from backups.engine.transfer import Piece, read_pieces
from backups.engine.watch import Watch
from destinations.storage.errors import ObjectMissing, ShortRead, StoreError

_BLOCK = 16 * 1024 * 1024


class PackRepair(msgspec.Struct):
    """What was saved.  Blobs as (kind, id in hexadecimal); packs by id."""

    saved: int = 0
    lost: list[tuple[str, str]] = []
    """Blobs that could not be read from these packs; other packs may still have them."""
    missing_packs: list[str] = []
    written_packs: list[str] = []
    left_behind: list[str] = []


def repair_packs(
    repository: Repository, pack_ids: Iterable[str], *, copies: Path | None = None, watch: Watch | None = None
) -> PackRepair:
    """Store every readable blob of these packs anew, then drop the packs, under the exclusive lock.

    ``copies`` is a local folder that first gets each pack as it is, as ``pack-<id>``.  The index must be loaded.
    Raises StoreError or Corrupt with the packs still there.
    """
    watch = watch or Watch()
    names = list(dict.fromkeys(pack_ids))
    result = PackRepair()
    stored = repository.ids(DATA)
    found = _indexed(repository, set(names))
    with packing(repository) as (packer, packs):
        for done, name in enumerate(names):
            watch.step("saving blobs", done=done, total=len(names))
            if name not in stored:
                result.missing_packs.append(name)
                result.lost += _described(found[name])
                continue
            if copies is not None:
                _keep_copy(repository, name, stored[name], copies)
            _save(repository, name, stored[name], found[name], packer, result)
    result.written_packs = [name for name, _ in packs.all]
    rewrite_index(repository, drop=names, fresh=packs.unsaved(), expect=result.written_packs, watch=watch)
    repository.load_index()
    result.left_behind = sweep(repository, DATA, [name for name in names if name in stored], watch, "removing packs")
    return result


def _indexed(repository: Repository, names: set[str]) -> dict[str, set[Piece]]:
    """Return what the index says of each of these packs."""
    found: dict[str, set[Piece]] = {name: set() for name in names}
    numbers = {number: name for number, pack in enumerate(repository.index.packs) if (name := pack.hex()) in names}
    for kind, blob_id, place in repository.index.items():
        if place.pack in numbers:
            found[numbers[place.pack]].add(Piece(kind, blob_id, place._replace(pack=0)))
    return found


def _save(
    repository: Repository, name: str, size: int, indexed: set[Piece], packer: PackWriter, result: PackRepair
) -> None:
    """Store the readable blobs of one pack anew; those that cannot be read count as lost unless saved before."""
    wanted = set(indexed)
    with suppress(Corrupt, ObjectMissing, ShortRead):
        header = repository.read_header(name, size)
        wanted |= {Piece(e.kind, e.id, Location(0, e.offset, e.length, e.plain_size)) for e in header}
    done: set[tuple[BlobType, bytes]] = set()
    pieces = sorted((p for p in wanted if p.place.length <= MAX_BLOB), key=lambda piece: piece.place.offset)
    for piece, sealed in read_pieces(repository, name, pieces):
        good = _good(repository, name, piece, sealed)
        if good is not None and (piece.kind, piece.id) not in done:
            packer.add_sealed(piece.kind, piece.id, good, piece.place.plain_size)
            done.add((piece.kind, piece.id))
    result.saved += len(done)
    result.lost += _described(piece for piece in wanted if (piece.kind, piece.id) not in done)


def _good(repository: Repository, name: str, piece: Piece, sealed: bytes | None) -> bytes | None:
    """Return the piece's sealed bytes if they open, read once more if need be."""
    for attempt in (sealed, None):
        again = attempt if attempt is not None else next(read_pieces(repository, name, [piece]))[1]
        if again is not None and _opens(repository, piece, again):
            return again
    return None


def _opens(repository: Repository, piece: Piece, sealed: bytes) -> bool:
    try:
        open_blob(repository.key, sealed, piece.place.plain_size, piece.id)
    except Corrupt:
        return False
    return True


def _described(pieces: Iterable[Piece]) -> list[tuple[str, str]]:
    return sorted({(piece.kind.name.lower(), piece.id.hex()) for piece in pieces})


def _keep_copy(repository: Repository, name: str, size: int, folder: Path) -> None:
    """Write the pack as it is to ``folder``, piece by piece."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"pack-{name}", "wb") as file:
        for offset in range(0, size, _BLOCK):
            try:
                file.write(repository.read_pack(name, offset, min(_BLOCK, size - offset)))
            except (ShortRead, ObjectMissing) as error:
                raise StoreError(f"pack {name} changed while it was copied: {error}", key=error.key) from error

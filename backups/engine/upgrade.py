"""From format version 1 to 2: only the config changes, what is stored stays as it is.

Where the storage cannot replace an object in one step, the new config first goes under a second name, which
:meth:`Repository.open` reads when there is no config: a kill between removing and writing loses nothing.
"""

from __future__ import annotations

import msgspec

from backups.engine.errors import BadRequest, Corrupt
from backups.engine.layout import CONFIG, DATA, SPARE_CONFIG
from backups.engine.pack import FIXED, entry_size
from backups.engine.repository import Repository
from backups.engine.usage import used_by_snapshots
from backups.engine.watch import Watch
from destinations.storage.errors import ObjectMissing

VERSION = 2


def upgrade(repository: Repository, *, watch: Watch | None = None, workers: int | None = None) -> None:
    """Make a version 1 repository version 2, under the exclusive lock and with the index loaded.

    Every tree is read and every pack's size compared first.  Raises BadRequest if it is version 2 already, Corrupt
    or BlobMissing with nothing changed if it is damaged, StoreError.
    """
    watch = watch or Watch()
    if repository.version >= VERSION:
        if finish(repository):
            return
        raise BadRequest(f"the repository has version {repository.version} already")
    used_by_snapshots(repository, watch=watch, workers=workers)
    _refuse_missing_packs(repository)
    watch.step("writing the config")
    config = msgspec.structs.replace(repository.config, version=VERSION)
    _replace_config(repository, repository.key.seal(msgspec.json.encode(config)))
    repository.config = config


def finish(repository: Repository) -> bool:
    """Put the config in its place if an upgrade was killed before it could; tell whether there was anything to do."""
    store = repository.store
    try:
        spare = store.get(SPARE_CONFIG)
    except ObjectMissing:
        return False
    try:
        store.stat(CONFIG)
    except ObjectMissing:
        _put(repository, CONFIG, spare)
    store.delete(SPARE_CONFIG)
    return True


def _replace_config(repository: Repository, sealed: bytes) -> None:
    store = repository.store
    if store.capabilities.overwrite and store.capabilities.atomic_put:
        _put(repository, CONFIG, sealed)
        return
    _put(repository, SPARE_CONFIG, sealed)
    store.delete(CONFIG)
    _put(repository, CONFIG, sealed)
    store.delete(SPARE_CONFIG)


def _put(repository: Repository, key: str, sealed: bytes) -> None:
    """Store a config and read it back.  Raises Corrupt, StoreError."""
    repository.key.open(sealed)
    repository.store.put(key, sealed)
    if repository.store.get(key) != sealed:
        raise Corrupt("the config that was just written reads back differently", kind="config", object_id=key)


def _refuse_missing_packs(repository: Repository) -> None:
    sizes = [FIXED] * len(repository.index.packs)
    for _, _, place in repository.index.items():
        sizes[place.pack] += place.length + entry_size(place.plain_size)
    stored = repository.ids(DATA)
    for pack_id, size in zip(repository.index.packs, sizes, strict=True):
        name = pack_id.hex()
        if stored.get(name) != size:
            raise Corrupt(f"pack {name} is missing or has the wrong size: repair first", kind="pack", object_id=name)

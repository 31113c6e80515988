"""The way into a repository: its config as it is stored, and the key file that a password opens."""

from __future__ import annotations

from contextlib import suppress

from backups.engine import keys
from backups.engine.crypto import Key
from backups.engine.errors import KeyRejected, RepositoryExists, RepositoryMissing, WrongKey
from backups.engine.layout import CONFIG, DATA, INDEX, KEYS, SNAPSHOTS, SPARE_CONFIG, is_id, object_key
from destinations.storage.base import ObjectStore
from destinations.storage.errors import ObjectMissing


def find_key(store: ObjectStore, password: str, hint: str = "") -> tuple[Key, str]:
    """Return the master key and the id of the key file that ``password`` opens.

    At most twenty key files are tried, the hinted one first.  A malformed one is passed over, so that it
    cannot lock everybody out.  Raises RepositoryMissing, WrongKey, KeyRejected, StoreError.
    """
    names = [info.key.rsplit("/", 1)[-1] for info in store.list(KEYS) if 0 < info.size <= keys.MAX_KEY_FILE]
    names = sorted((n for n in names if is_id(n)), key=lambda n: (n != hint, n))
    if not names:
        if not _exists(store, CONFIG):
            raise RepositoryMissing("there is no repository at this place: it has no config and no keys")
        raise WrongKey("the repository has no key at all")
    rejected: KeyRejected | None = None
    for name in names[: keys.MAX_KEYS_TRIED]:
        try:
            return keys.unwrap(store.get(object_key(KEYS, name)), password), name
        except (WrongKey, ObjectMissing):
            continue
        except KeyRejected as error:
            rejected = KeyRejected(f"keys/{name}: {error}")
    if rejected is not None:
        raise rejected
    raise WrongKey("no key of this repository opens with this password")


def left_by_init(store: ObjectStore, password: str) -> tuple[Key, str] | None:
    """Return the key and its id where there is nothing but that key, None where there is nothing at all.

    Raises RepositoryExists for anything else.
    """
    if not any(_exists(store, name) for name in (CONFIG, SPARE_CONFIG)):
        used = any(True for kind in (SNAPSHOTS, INDEX, DATA) for _ in store.list(kind))
        if not used and not any(True for _ in store.list(KEYS)):
            return None
        with suppress(WrongKey, KeyRejected, RepositoryMissing):
            if not used:
                return find_key(store, password)
    raise RepositoryExists("there is a repository, or part of one, at this place already")


def read_config(store: ObjectStore) -> bytes:
    """Return the sealed config, or the one that an upgrade which was killed left beside its place."""
    try:
        return store.get(CONFIG)
    except ObjectMissing as error:
        try:
            return store.get(SPARE_CONFIG)
        except ObjectMissing:
            raise RepositoryMissing("there is no repository at this place: config is missing") from error


def _exists(store: ObjectStore, key: str) -> bool:
    try:
        store.stat(key)
    except ObjectMissing:
        return False
    return True

"""The keys of an open repository: list, add, remove, change the password.

Every key file wraps the same master key.  A file that does not open locks others out, so a new one is read
back and opened before it counts, and removed again if that fails.
"""

from __future__ import annotations

import msgspec

from backups.engine import keys
from backups.engine.errors import BadRequest, Corrupt, KeyRejected, WrongKey
from backups.engine.layout import KEYS, is_id, object_key
from backups.engine.lookup import find_id
from backups.engine.repository import Repository
from backups.engine.times import now_text
from destinations.storage.errors import ObjectMissing, StoreError


class KeyInfo(msgspec.Struct, frozen=True):
    """What a key file says of itself.  ``problem`` is the reason why it cannot be used, else empty."""

    id: str
    current: bool
    username: str = ""
    hostname: str = ""
    created: str = ""
    problem: str = ""


def list_keys(repository: Repository) -> list[KeyInfo]:
    """Return every key file, by id; one that cannot be used carries its problem."""
    return [_describe(repository, name) for name in sorted(repository.ids(KEYS))]


def _describe(repository: Repository, name: str) -> KeyInfo:
    current = name == repository.key_id
    try:
        file = keys.parse(repository.store.get(object_key(KEYS, name)))
    except (KeyRejected, StoreError) as error:
        return KeyInfo(name, current, problem=str(error))
    return KeyInfo(name, current, file.username, file.hostname, file.created)


def add_key(
    repository: Repository,
    password: str,
    *,
    params: keys.KdfParams = keys.KdfParams(),
    username: str = "",
    hostname: str = "",
) -> str:
    """Add a key for ``password``, under a shared lock; return its id.

    Raises BadRequest when there are so many that programs would not try it, KeyRejected if the stored file does not
    open (it is removed again), StoreError.
    """
    if len(repository.ids(KEYS)) >= keys.MAX_KEYS_TRIED:
        raise BadRequest(f"there are {keys.MAX_KEYS_TRIED} keys already, and programs try no more: remove one first")
    raw = keys.wrap(repository.key, password, params, created=now_text(), username=username, hostname=hostname)
    name = keys.key_id(raw)
    try:
        repository.store.put(object_key(KEYS, name), raw)
        _prove(repository, name, password)
    except Exception:
        repository.store.delete(object_key(KEYS, name))
        raise
    return name


def _prove(repository: Repository, name: str, password: str) -> None:
    """Open the stored file with the password and compare the master keys."""
    try:
        again = keys.unwrap(repository.store.get(object_key(KEYS, name)), password)
    except (WrongKey, KeyRejected, Corrupt, ObjectMissing) as error:
        raise KeyRejected(f"the new key does not open after it was stored, and was removed: {error}") from error
    ours = repository.key
    if (again.encrypt, again.mac_k, again.mac_r) != (ours.encrypt, ours.mac_k, ours.mac_r):
        raise KeyRejected("the new key holds another master key after it was stored, and was removed")


def remove_key(repository: Repository, key_id: str) -> str:
    """Remove a key by its id or the beginning of it, under the exclusive lock; return the id.

    Raises BadRequest for the key in use, or if not exactly one begins so.
    """
    name = find_id(repository, KEYS, key_id)
    if name == repository.key_id:
        raise BadRequest("this is the key the repository was opened with; open it with another one to remove it")
    repository.store.delete(object_key(KEYS, name))
    return name


def change_password(
    repository: Repository,
    password: str,
    *,
    params: keys.KdfParams = keys.KdfParams(),
    username: str = "",
    hostname: str = "",
) -> str:
    """Put a key for ``password`` in place of the one in use, under the exclusive lock; return the new id.

    The old key is removed only after the new one was opened; a kill in between leaves both.  Raises BadRequest if the
    repository was not opened with a key file, otherwise as :func:`add_key`.
    """
    old = repository.key_id
    if not is_id(old):
        raise BadRequest("the repository was opened without a key file, so there is none to replace")
    new = add_key(repository, password, params=params, username=username, hostname=hostname)
    repository.key_id = new
    repository.store.delete(object_key(KEYS, old))
    return new

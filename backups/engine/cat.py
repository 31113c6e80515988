"""Single objects as they are inside, for people who look for the cause of something."""

from __future__ import annotations

import base64

import msgspec

from backups.engine.blob import BlobType
from backups.engine.errors import BadRequest, BlobMissing
from backups.engine.layout import DATA, INDEX, KEYS, LOCKS, SNAPSHOTS, Kind, is_id, object_key
from backups.engine.lookup import find_id
from backups.engine.repository import Repository
from backups.engine.snapshot import find_snapshot
from backups.engine.tree_path import find_tree

KINDS = ("masterkey", "config", "pack", "blob", "snapshot", "index", "key", "lock", "tree")
BINARY = ("pack", "blob", "tree")
"""What is returned byte for byte; the rest is JSON."""
_NEEDS_INDEX = ("blob", "tree")
_OBJECTS: dict[str, Kind] = {"snapshot": SNAPSHOTS, "index": INDEX, "lock": LOCKS}


def needs_index(what: str) -> bool:
    """Tell whether :func:`cat` wants the index loaded for this kind of object."""
    return what in _NEEDS_INDEX


def cat(repository: Repository, what: str, name: str = "") -> bytes:
    """Return an object's content: JSON, indented, or for ``pack``, ``blob`` and ``tree`` the bytes themselves.

    ``name`` is an id or the beginning of one; for a blob the whole id; for a tree ``SNAPSHOT[:folder]``; nothing for
    ``config`` and ``masterkey``.  The master key is a secret: with it everything can be read.  Raises BadRequest,
    SnapshotMissing, BlobMissing, Corrupt, StoreError.
    """
    if what not in KINDS:
        raise BadRequest(f"{what[:40]!r} is none of {', '.join(KINDS)}")
    if bool(name) == (what in ("masterkey", "config")):
        raise BadRequest(f"{what} takes no id" if name else f"{what} takes an id")
    if what == "config":
        return _indented(msgspec.json.encode(repository.config))
    if what == "masterkey":
        return _indented(_master_key(repository))
    if what == "key":
        return _indented(repository.store.get(object_key(KEYS, find_id(repository, KEYS, name))))
    if what == "pack":
        return repository.load_raw(DATA, find_id(repository, DATA, name))
    if what == "blob":
        return _blob(repository, name)
    if what == "tree":
        snapshot, folder = find_snapshot(repository.snapshots(lambda _: None), name)
        return repository.load_tree(find_tree(repository, snapshot.tree, folder.encode("utf-8", "surrogateescape")))
    kind = _OBJECTS[what]
    return _indented(repository.load_object(kind, find_id(repository, kind, name)))


def _blob(repository: Repository, name: str) -> bytes:
    if not is_id(name.lower()):
        raise BadRequest("a blob is named by its whole id, 64 hexadecimal digits")
    blob_id = bytes.fromhex(name)
    for kind in BlobType:
        if repository.index.has(kind, blob_id):
            return repository.load_blob(kind, blob_id)
    raise BlobMissing(f"blob {name} is in no pack of the index", kind="blob", object_id=name)


def _master_key(repository: Repository) -> bytes:
    key = repository.key
    mac = {"k": base64.b64encode(key.mac_k).decode(), "r": base64.b64encode(key.mac_r).decode()}
    return msgspec.json.encode({"mac": mac, "encrypt": base64.b64encode(key.encrypt).decode()})


def _indented(payload: bytes) -> bytes:
    return msgspec.json.format(payload, indent=2) + b"\n"

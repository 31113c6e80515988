"""Reads back what was just stored, before anything older is removed in favour of it."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from backups.engine.errors import Corrupt
from backups.engine.layout import Kind, object_key
from backups.engine.repository import Repository


def prove_stored(repository: Repository, kind: Kind, object_ids: Iterable[str]) -> None:
    """Fetch objects from the storage itself; Corrupt or StoreError unless each is there as it was written."""
    for name in object_ids:
        if sha256(repository.store.get(object_key(kind, name))).hexdigest() != name:
            raise Corrupt(f"{kind}/{name} reads back differently than it was sent", kind=kind, object_id=name)

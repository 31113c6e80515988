"""Whether the key files are what they were stored as: the stock programs refuse one whose name does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from backups.engine import keys
from backups.engine.errors import KeyRejected
from backups.engine.findings import Finding
from backups.engine.layout import KEYS, object_key
from backups.engine.repository import Repository
from destinations.storage.errors import ObjectMissing


def key_findings(repository: Repository) -> Iterator[Finding]:
    """Yield a finding for each key file that was changed or cannot be used.  Raises StoreError."""
    for name in sorted(repository.ids(KEYS)):
        try:
            raw = repository.store.get(object_key(KEYS, name))
        except ObjectMissing:
            continue
        if problem := _problem(name, raw):
            text = f"key {name} {problem}; a new password (key passwd) or key remove takes it away"
            yield Finding("key-damaged", "key", name, text)


def _problem(name: str, raw: bytes) -> str:
    if sha256(raw).hexdigest() != name:
        return "has other content than its name says"
    try:
        keys.parse(raw)
    except KeyRejected as error:
        return f"cannot be used: {error}"
    return ""

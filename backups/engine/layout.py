"""Names of the objects of a repository."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["keys", "data", "index", "snapshots", "locks"]

CONFIG = "config"
SPARE_CONFIG = "config-spare"
"""The new config while it replaces the old one on a storage that cannot do that in one step."""
KEYS: Kind = "keys"
DATA: Kind = "data"
INDEX: Kind = "index"
SNAPSHOTS: Kind = "snapshots"
LOCKS: Kind = "locks"

_ID = re.compile(r"[0-9a-f]{64}")


def is_id(name: str) -> bool:
    """Tell whether ``name`` is an object id: 64 lower-case hexadecimal digits."""
    return _ID.fullmatch(name) is not None


def object_key(kind: Kind, object_id: str) -> str:
    """Return the storage key of an object; packs stand in one of 256 folders."""
    if kind == DATA:
        return f"data/{object_id[:2]}/{object_id}"
    return f"{kind}/{object_id}"


def folders() -> list[str]:
    """Return every folder a repository on a real file system has from the start."""
    return [KEYS, DATA, INDEX, SNAPSHOTS, LOCKS, *(f"data/{shard:02x}" for shard in range(256))]

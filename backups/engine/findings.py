"""What a check finds: one typed finding for each damaged object, with the snapshots that suffer from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "hint"]
Code = Literal[
    "key-damaged",
    "snapshot-damaged",
    "index-damaged",
    "pack-indexed-twice",
    "pack-indexed-differently",
    "pack-mixed",
    "pack-gaps",
    "pack-unknown",
    "pack-missing",
    "pack-size",
    "pack-header",
    "pack-content",
    "pack-unstable",
    "blob-damaged",
    "blob-missing",
    "tree-missing",
    "tree-damaged",
    "tree-invalid",
    "too-many",
]
"""Stable names of what can be wrong.

``pack-indexed-twice``, ``pack-mixed``, ``pack-unknown`` and ``pack-unstable`` (read differently the first time)
are hints: nothing is lost.  ``too-many`` stands for findings that are only counted.
"""
HINTS: frozenset[str] = frozenset(("pack-indexed-twice", "pack-mixed", "pack-unknown", "pack-unstable", "too-many"))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    ``kind`` and ``object_id`` name the object: key, snapshot, index, pack, tree or blob.  ``snapshots`` are the ids of
    those that lose something by it, ``path`` one item that does.
    """

    code: Code
    kind: str
    object_id: str
    message: str
    snapshots: tuple[str, ...] = ()
    path: bytes = b""

    @property
    def severity(self) -> Severity:
        """``error``, or ``hint`` for what costs nobody any data."""
        return "hint" if self.code in HINTS else "error"

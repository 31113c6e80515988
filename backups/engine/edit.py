"""Replaces snapshots: the new object is stored first, then the old one is removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from backups.engine.layout import SNAPSHOTS
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot, change_tags, encode_snapshot
from backups.engine.watch import Watch


def save_snapshot(repository: Repository, snapshot: Snapshot) -> Snapshot:
    """Store a snapshot; return it with its id.  Raises StoreError."""
    name = repository.save_object(SNAPSHOTS, encode_snapshot(snapshot))
    return msgspec.structs.replace(snapshot, id=name)


def replace_snapshot(repository: Repository, old: Snapshot, new: Snapshot) -> Snapshot:
    """Store ``new`` in place of ``old``; return it with its id.  A kill in between leaves both.

    Raises Corrupt or StoreError with the old one still there.
    """
    stored = save_snapshot(repository, new)
    repository.remove_object(SNAPSHOTS, old.id)
    return stored


def tag_snapshots(
    repository: Repository,
    snapshots: Iterable[Snapshot],
    *,
    set_to: Sequence[str] = (),
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    watch: Watch | None = None,
) -> list[tuple[Snapshot, Snapshot]]:
    """Change tags, under the exclusive lock; return (before, after) of every snapshot that changed.

    The first id a snapshot had stays known as its ``original``.  The tag rules are those of ``change_tags``.
    """
    watch = watch or Watch()
    changed: list[tuple[Snapshot, Snapshot]] = []
    for done, snapshot in enumerate(snapshots):
        watch.step("changing tags", done=done)
        new = change_tags(snapshot, set_to=set_to, add=add, remove=remove)
        if new is not None:
            changed.append((snapshot, replace_snapshot(repository, snapshot, new)))
    return changed

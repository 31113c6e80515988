"""Short ways to restore and to look at what came of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from backups.engine.ports import Target
from backups.engine.repository import Repository
from backups.engine.restore_rules import RestoreOptions
from backups.engine.restorer import RestoreResult, restore
from restores.targets.folder import FolderTarget
from restores.targets.policy import LIKE_RESTIC, Policy
from tests.engine.awkward import describe, differences


def newest_tree(repository: Repository) -> str:
    """The root tree of the newest snapshot."""
    return repository.snapshots()[-1].tree


def restore_to(
    repository: Repository, place: Path | Target, *, folder: bytes = b"", policy: Policy = LIKE_RESTIC, **options: Any
) -> RestoreResult:
    """Restore the newest snapshot, in this process unless the options say otherwise."""
    target = FolderTarget(place, policy=policy) if isinstance(place, Path) else place
    chosen = RestoreOptions(**({"workers": 0} | options))
    try:
        return restore(repository, newest_tree(repository), target, folder=folder, options=chosen)
    finally:
        target.close()


def lost(source: bytes, restored: bytes) -> list[str]:
    """What a restore of the awkward tree did not bring back, but for attribute names that no text can hold."""
    return [line for line in differences(describe(source), describe(restored)) if "attributes/not-text" not in line]


def files_below(place: Path) -> dict[str, bytes]:
    """Every regular file below a folder with its content, by path."""
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def everything_below(place: Path) -> list[str]:
    """The path of every item below a folder, sorted."""
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))


def open_descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))

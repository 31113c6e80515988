"""Removes snapshots: those that are named, or those that a retention policy lets go.

Only snapshot objects go; ``prune`` frees what they alone needed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec

from backups.engine.layout import SNAPSHOTS
from backups.engine.repository import Repository
from backups.engine.retention import Decision, Policy, apply
from backups.engine.snapshot import DEFAULT_GROUPING, EVERYTHING, GroupKey, Snapshot, SnapshotFilter, group_by
from backups.engine.sweep import sweep
from backups.engine.watch import Watch


class ForgetGroup(msgspec.Struct, frozen=True):
    """What a policy decides about the snapshots of one group, newest first."""

    key: GroupKey
    decisions: list[Decision]

    @property
    def keep(self) -> list[Decision]:
        """The snapshots that stay, with the reasons."""
        return [decision for decision in self.decisions if decision.keep]

    @property
    def remove(self) -> list[Snapshot]:
        """The snapshots that go."""
        return [decision.snapshot for decision in self.decisions if not decision.keep]


class ForgetResult(msgspec.Struct):
    """What was decided and done.  ``removed`` are ids; ``left_behind`` those that the storage did not remove."""

    groups: list[ForgetGroup] = []
    removed: list[str] = []
    left_behind: list[str] = []


def decide(
    snapshots: Iterable[Snapshot],
    policy: Policy,
    *,
    matching: SnapshotFilter = EVERYTHING,
    grouping: str = DEFAULT_GROUPING,
    now: int | None = None,
) -> list[ForgetGroup]:
    """Apply a policy to each group of the matching snapshots; ``now`` in nanoseconds.  Changes nothing.

    Raises BadRequest if the policy would leave nothing of a group.
    """
    moment = time.time_ns() if now is None else now
    groups = group_by(filter(matching.matches, snapshots), grouping)
    return [ForgetGroup(key, apply(members, policy, moment)) for key, members in groups.items()]


def forget(
    repository: Repository,
    policy: Policy,
    *,
    matching: SnapshotFilter = EVERYTHING,
    grouping: str = DEFAULT_GROUPING,
    now: int | None = None,
    dry_run: bool = False,
    watch: Watch | None = None,
) -> ForgetResult:
    """Remove the matching snapshots that a policy does not keep, under the exclusive lock.

    Everything is decided before anything is removed.  Snapshots that cannot be read are told to the watch and
    stay.  Raises BadRequest as :func:`decide` does.
    """
    watch = watch or Watch()
    snapshots = repository.snapshots(lambda error: watch.problem(f"snapshots/{error.object_id}", error))
    groups = decide(snapshots, policy, matching=matching, grouping=grouping, now=now)
    result = ForgetResult(groups)
    names = [snapshot.id for group in groups for snapshot in group.remove]
    _remove(repository, names, result, dry_run=dry_run, watch=watch)
    return result


def remove_snapshots(
    repository: Repository, snapshot_ids: Iterable[str], *, dry_run: bool = False, watch: Watch | None = None
) -> ForgetResult:
    """Remove exactly these snapshots, under the exclusive lock, readable or not."""
    result = ForgetResult()
    _remove(repository, list(dict.fromkeys(snapshot_ids)), result, dry_run=dry_run, watch=watch or Watch())
    return result


def _remove(repository: Repository, names: list[str], result: ForgetResult, *, dry_run: bool, watch: Watch) -> None:
    """With ``dry_run`` the result is the same and the storage is not touched."""
    if not dry_run:
        result.left_behind = sweep(repository, SNAPSHOTS, names, watch, "removing snapshots")
    failed = set(result.left_behind)
    result.removed = [name for name in names if name not in failed]

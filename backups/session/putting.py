"""Putting items of a snapshot back, and the plan of it: in a child of its own, with no more rights than it needs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from backups.engine.errors import BadRequest, NothingToSave, TargetProblem
from backups.engine.ports import CancelToken, Selector
from backups.engine.repository import Repository
from backups.engine.restore_batch import TargetFull
from backups.engine.restore_plan import Plan, Planned
from backups.engine.restore_rules import RestoreOptions
from backups.engine.restorer import RestoreResult, restore
from backups.engine.tree_path import find_node
from backups.session.chosen import ChosenPaths
from backups.session.events import SaidProgress, say, say_list
from backups.session.giving import Giver
from backups.session.homes import real_home
from backups.session.items import COMPLETE, INCOMPLETE, snapshot_of
from backups.session.privileges import become, lifted
from backups.session.spec import Restore
from backups.spelling import shown, unspell
from restores.targets.confine import confine_writes
from restores.targets.files import Lift, no_lift
from restores.targets.folder import FolderTarget
from restores.targets.metadata import Give
from restores.targets.policy import LIKE_RESTIC, Policy, account_policy
from restores.targets.rules import Rule
from restores.targets.view import FolderView

_EXAMPLES = 3
_LONGEST_EXAMPLE = 160


class AccountTarget(FolderTarget):
    """A folder of an account: its sockets are nobody's business."""

    keeps_sockets = True


def run_restore(repository: Repository, command: Restore, cancel: CancelToken) -> int:
    """Put items of a snapshot back, or say what that would do; the exit status is returned."""
    snapshot = snapshot_of(repository, command.snapshot)
    giver = None
    if command.user is not None:
        giver = giver_for(command)
        group = command.user if command.group is None else command.group
        become(command.user, group, may_lift=command.lift)
    try:
        putting = Putting(repository, snapshot.tree, command, cancel, giver)
        return putting.say_plan() if command.dry_run else putting.put()
    finally:
        if giver is not None:
            giver.close()


def giver_for(command: Restore) -> Giver | None:
    """Return who gives files to the owners that rules name, if a customer's rights do not suffice for it."""
    if command.dry_run or command.user is None or command.owner is None or os.geteuid() != 0:
        return None
    user, group = command.owner
    users = {user} | {rule.user for rule in command.rules if rule.user is not None}
    groups = {group} | {rule.group for rule in command.rules if rule.group is not None}
    allowed = {(one, other) for one in users for other in groups} - {(user, group)}
    return Giver(command.user, allowed) if allowed else None


class Putting:
    """One restore: what is chosen, and where it goes."""

    def __init__(
        self, repository: Repository, tree: str, command: Restore, cancel: CancelToken, give: Give | None = None
    ) -> None:
        self._give = give
        self._repository = repository
        self._tree = tree
        self._command = command
        self._cancel = cancel
        self._folder = unspell(command.folder).strip(b"/")
        self._target = _real_target(unspell(command.target), command.owner)
        self._below = unspell(command.below).strip(b"/")
        chosen = [unspell(path).strip(b"/") for path in command.paths]
        self._strays: list[tuple[bytes, int]] = []
        if command.undo and chosen:
            chosen = self._rooted(chosen)
        self._options = RestoreOptions(
            select=selector(chosen),
            overwrite=command.overwrite,  # type: ignore[arg-type]
            delete=command.mirror or command.undo,
            workers=0,
        )

    # ------------------------------------------------------------------ the plan

    def say_plan(self) -> int:
        """Say what would be created, replaced, kept and deleted."""
        until = time.monotonic() + self._command.seconds
        counts: dict[str, list[int]] = {}
        examples: dict[str, list[str]] = {}
        listed: list[dict[str, Any]] = []
        complete, largest = True, 0
        view = self._view()
        plan = self._plan(view)
        for planned in self._planned(plan, view):
            count = counts.setdefault(planned.action, [0, 0])
            count[0] += 1
            count[1] += planned.size
            largest = max(largest, planned.size if planned.action == "replace" else 0)
            if len(examples.setdefault(planned.action, [])) < _EXAMPLES:
                examples[planned.action].append(shown(planned.path)[-_LONGEST_EXAMPLE:])
            if len(listed) < self._command.count and planned.action in ("create", "replace", "delete"):
                listed.append({"action": planned.action, "path": shown(planned.path), "size": planned.size})
            if time.monotonic() > until:
                complete = False
                break
        needed = counts.get("create", [0, 0])[1] + largest
        say_list(
            "planned", self._command.item, listed, counts=counts, examples=examples, needed=needed,
            free=view.free() if view else None, complete=complete, problems=len(plan.problems),
        )  # fmt: skip
        return COMPLETE

    def _plan(self, view: FolderView | None) -> Plan:
        return Plan(
            self._repository,
            self._tree,
            view,  # type: ignore[arg-type]
            self._folder,
            self._options,
            self._cancel,
            most=self._command.most,
        )

    def _planned(self, plan: Plan, view: FolderView | None) -> Iterator[Planned]:
        yield from plan
        for path, _ in self._strays:
            if view is not None and view.kind(path):
                yield Planned("delete", path, "", 0)

    def _view(self) -> FolderView | None:
        try:
            return FolderView(self._target, below=self._below)
        except FileNotFoundError:
            if not self._below:
                raise TargetProblem("the account's home folder is not there") from None
            return None

    # ------------------------------------------------------------------ the deed

    def put(self) -> int:
        """Restore; the summary is said."""
        expected = self._room()
        walls = [self._target if wall == self._command.target else unspell(wall) for wall in self._command.walls]
        confined = confine_writes(walls) if walls else False
        target = AccountTarget(
            self._target, below=self._below, policy=self._policy(), give=self._give, lift=self._lift()
        )
        try:
            result = restore(
                self._repository,
                self._tree,
                target,
                folder=self._folder,
                options=self._options,
                progress=SaidProgress(self._command.item, time.monotonic),
                cancel=self._cancel,
                expected=expected,
            )
            result.deleted += sum(remove_stray(target, path, depth) for path, depth in self._strays)
        finally:
            target.close()
        self._say_result(result, confined=confined)
        return COMPLETE if result.complete else INCOMPLETE

    def _lift(self) -> Lift:
        """Return what lets a customer's own rights suffice for his own home while nobody may enter it."""
        mine = self._command.lift and os.stat(self._target).st_uid == self._command.user  # noqa: PTH116 - bytes
        return lifted if mine else no_lift

    def _policy(self) -> Policy:
        if self._command.owner is None:
            return LIKE_RESTIC
        rules = [
            Rule(unspell(rule.pattern), rule.recursive, rule.user, rule.group, rule.file_mode, rule.folder_mode)
            for rule in self._command.rules
        ]
        return account_policy(*self._command.owner, rules=rules)

    def _room(self) -> tuple[int, int]:
        """Return how many files and bytes are to come.  TargetFull if there is not enough room for them."""
        files = size = created = largest = 0
        view = self._view()
        for planned in self._plan(view):
            if planned.kind != "file" or planned.action == "delete":
                continue
            files += 1
            size += planned.size
            created += planned.size if planned.action == "create" else 0
            largest = max(largest, planned.size if planned.action == "replace" else 0)
        if view is not None:
            free = view.free()
            view.close()
            if created + largest > free:
                raise TargetFull(f"the restore needs {created + largest} bytes more, and {free} are free")
        return files, size

    def _say_result(self, result: RestoreResult, *, confined: bool) -> None:
        for problem in result.problems[:100]:
            say("problem", self._command.item, path=shown(problem.path)[-1000:], message=problem.reason)
        say(
            "restored",
            self._command.item,
            files_restored=result.files + result.links,
            files_unchanged=result.unchanged,
            files_skipped=result.skipped,
            deleted=result.deleted,
            failed=result.failed,
            size=result.written,
            seconds=result.seconds,
            confined=confined,
        )

    # ------------------------------------------------------------------ undo

    def _rooted(self, paths: list[bytes]) -> list[bytes]:
        """Return what an undo has to bring back for these paths; what has to go is noted as a stray.

        Where the snapshot has something else than a folder on the way to a path, that comes back; where it has
        nothing, the restore made the folders on the way.
        """
        rooted: list[bytes] = []
        for path in paths:
            parts = path.split(b"/") if path else []
            for depth in range(1, len(parts) + 1):
                above = b"/".join(parts[:depth])
                kind = self._kind(above)
                if kind == "dir" and depth < len(parts):
                    continue
                if kind:
                    rooted.append(above)
                else:
                    self._strays.append((path, depth - 1))
                break
            else:
                rooted.append(path)
        return rooted or [b"\0"]

    def _kind(self, path: bytes) -> str:
        whole = self._folder + b"/" + path if self._folder else path
        with suppress(BadRequest):
            node = find_node(self._repository, self._tree, whole)
            return "" if node is None else node.type
        return ""


def _real_target(path: bytes, owner: tuple[int, int] | None) -> bytes:
    try:
        return real_home(path, () if owner is None else (owner[0], 0))
    except NothingToSave as error:
        raise TargetProblem(str(error)) from None


def remove_stray(target: FolderTarget, path: bytes, keep: int) -> int:
    """Remove an item, and the folders above it that are empty then, but for the first ``keep`` ones of the path."""
    removed = 0
    while path.count(b"/") >= keep:
        parent, _, name = path.rpartition(b"/")
        try:
            folder = target.folder(parent)
        except (OSError, TargetProblem):
            return removed
        try:
            removed += folder.remove(name)
            empty = not folder.found()
        finally:
            folder.close()
        if not empty or not parent:
            return removed
        path = parent
    return removed


def selector(paths: list[bytes]) -> Selector | None:
    """Return a rule that takes these paths with all below them; None if that is everything."""
    if not paths or b"" in paths:
        return None
    chosen = ChosenPaths(paths)

    def select(path: bytes, _is_folder: bool) -> tuple[bool, bool]:
        path = path.strip(b"/")
        inside = chosen.holds(path)
        return inside, inside or chosen.leads(path)

    return select

"""``restore``: bring a snapshot, or part of it, back."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
from collections import Counter
from pathlib import Path

from backups.engine.cli.backup import pattern_lists
from backups.engine.cli.session import Session, choose_snapshot
from backups.engine.errors import BadRequest
from backups.engine.output import human_bytes, human_seconds
from backups.engine.patterns import Selection
from backups.engine.ports import Selector
from backups.engine.repository import Repository
from backups.engine.restore_plan import Plan
from backups.engine.restore_rules import Overwrite, RestoreOptions
from backups.engine.restorer import RestoreResult
from backups.engine.restorer import restore as restore_tree
from backups.engine.snapshot import Snapshot
from backups.engine.tree_path import find_tree


def restore(session: Session) -> int:
    """Bring a snapshot, or part of it, back."""
    args = session.args
    select = selector(args)
    overwrite: Overwrite = "if-different" if args.overwrite == "if-changed" else args.overwrite
    if args.delete and select is not None and not args.dry_run and os.path.realpath(args.target) == "/":
        raise BadRequest("--delete with a choice of paths and the target / would empty the machine")
    options = RestoreOptions(
        select=select,
        overwrite=overwrite,
        sparse=args.sparse,
        verify=args.verify,
        delete=args.delete,
        workers=args.workers,
    )
    with session.repository() as repository:
        snapshot, folder = choose_snapshot(session, repository, args.snapshot)
        session.console.line(f"restoring snapshot {snapshot.id[:8]} of {snapshot.time} to {args.target}")
        if args.dry_run:
            return _plan(session, repository, snapshot, os.fsencode(folder), options)
        repository.load_tree(find_tree(repository, snapshot.tree, os.fsencode(folder)))  # or no target is made
        target = session.wiring.folder_target(args.target)
        expected = (0, 0)
        if snapshot.summary and not folder and select is None:
            expected = (snapshot.summary.total_files_processed, snapshot.summary.total_bytes_processed)
        try:
            result = restore_tree(
                repository,
                snapshot.tree,
                target,
                folder=os.fsencode(folder),
                options=options,
                progress=session.progress("restore"),
                cancel=session.cancel,
                expected=expected,
            )
        finally:
            target.close()
    _report(session, result)
    return 0 if result.complete else 1


def _plan(session: Session, repository: Repository, snapshot: Snapshot, folder: bytes, options: RestoreOptions) -> int:
    """Show what a restore would do; the target is not even made."""
    args, console = session.args, session.console
    target = session.wiring.folder_target(args.target) if Path(args.target).is_dir() else None
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    plan = Plan(repository, snapshot.tree, target, folder, options, session.cancel)
    try:
        for item in plan:
            counts[item.action] += 1
            sizes[item.action] += item.size
            if console.json:
                fields = {"message_type": "planned", "action": item.action, "item": os.fsdecode(item.path)}
                console.record(fields | {"type": item.kind, "size": item.size})
            elif args.verbose or item.action in ("create", "replace", "delete"):
                console.line(f"{item.action:9} {human_bytes(item.size):>12}  {os.fsdecode(item.path)}")
    finally:
        if target is not None:
            target.close()
    for problem in plan.problems:
        console.warn(f"{os.fsdecode(problem.path)}: {problem.reason} ({problem.code})")
    if console.json:
        console.record({"message_type": "summary", "items": dict(counts), "bytes": dict(sizes)})
    console.line()
    for action in ("create", "replace", "delete", "unchanged", "keep"):
        if counts[action]:
            console.line(f"{action}: {counts[action]} items, {human_bytes(sizes[action])}")
    return 1 if plan.problems else 0


def _report(session: Session, result: RestoreResult) -> None:
    console = session.console
    if console.json:
        fields = {name: getattr(result, name) for name in _COUNTED}
        console.record({"message_type": "summary", "seconds_elapsed": result.seconds} | fields)
        return
    console.line()
    console.line(f"restored {result.files} files ({human_bytes(result.written)}) in {human_seconds(result.seconds)}")
    if result.unchanged:
        console.line(f"{result.unchanged} files were as they should be already")
    if result.skipped:
        console.line(f"{result.skipped} files were left as they are")
    if result.deleted:
        console.line(f"{result.deleted} items the snapshot does not have were removed")
    if result.failed:
        console.warn(f"{result.failed} items could not be restored; nothing half-written was left in their place")


_COUNTED = [field.name for field in dataclasses.fields(RestoreResult) if field.name not in ("problems", "seconds")]


def selector(args: argparse.Namespace) -> Selector | None:
    """Return what the include and exclude options choose, or None for everything."""
    includes = pattern_lists(args.include, args.include_file, args.iinclude, [])
    excludes = pattern_lists(args.exclude, args.exclude_file, args.iexclude, [])
    if not includes and not excludes:
        return None
    selection = Selection(includes=tuple(includes), excludes=tuple(excludes))
    return functools.partial(_select, selection)


def _select(selection: Selection, path: bytes, _is_folder: bool) -> tuple[bool, bool]:
    absolute = b"/" + path
    return selection.wants(absolute), selection.enters(absolute)

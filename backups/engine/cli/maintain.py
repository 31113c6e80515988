"""``tag``, ``forget``, ``prune``, ``repair``, ``recover`` and ``upgrade``: verbs that change what is stored."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec

from backups.engine.cli.browse import snapshot_fields, snapshot_table
from backups.engine.cli.session import Session, choose_snapshots, filter_from
from backups.engine.edit import tag_snapshots
from backups.engine.errors import BadRequest
from backups.engine.forget import ForgetGroup, remove_snapshots
from backups.engine.forget import forget as forget_by_policy
from backups.engine.layout import DATA
from backups.engine.lookup import choose_id
from backups.engine.output import human_bytes
from backups.engine.prune import prune as prune_repository
from backups.engine.prune_plan import PruneOptions, PruneReport, Unused, parse_size
from backups.engine.recover import recover as recover_trees
from backups.engine.repair_index import repair_index
from backups.engine.repair_packs import repair_packs
from backups.engine.repair_snapshots import repair_snapshots
from backups.engine.repository import Repository
from backups.engine.retention import Policy, parse_count, parse_duration
from backups.engine.upgrade import upgrade as upgrade_repository
from backups.engine.watch import Watch

COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
SPANS = ("", "_hourly", "_daily", "_weekly", "_monthly", "_yearly")


def watch_of(session: Session, during: str) -> Watch:
    """Return what a long verb looks at: this session's progress, cancel and lock."""
    return Watch(session.progress(during), session.cancel, session.guard)


def tag(session: Session) -> int:
    """Change the tags of snapshots."""
    args = session.args
    given = {name: [t for text in getattr(args, name) for t in text.split(",")] for name in _TAGS}
    if not any(given.values()):
        raise BadRequest("nothing to do: give --set, --add or --remove")
    if given["set_tags"] and (given["add_tags"] or given["remove_tags"]):
        raise BadRequest("--set does not go with --add or --remove")
    with session.repository("exclusive", index=False) as repository:
        changed = tag_snapshots(
            repository,
            choose_snapshots(session, repository, args.ids),
            set_to=given["set_tags"],
            add=given["add_tags"],
            remove=given["remove_tags"],
            watch=watch_of(session, "tag"),
        )
    for before, after in changed:
        if session.console.json:
            fields = {"message_type": "changed", "old_snapshot_id": before.id, "new_snapshot_id": after.id}
            session.console.record(fields)
    if session.console.json:
        session.console.record({"message_type": "summary", "changed_snapshots": len(changed)})
    session.console.line(f"changed the tags of {len(changed)} snapshots")
    return 0


_TAGS = ("set_tags", "add_tags", "remove_tags")


def policy_from(args: argparse.Namespace) -> Policy:
    """Return the retention policy of the --keep options.  Raises BadRequest."""
    rules: dict[str, Any] = {name: parse_count(getattr(args, f"keep_{name}")) for name in COUNTS}
    rules |= {f"within{span}": parse_duration(getattr(args, f"keep_within{span}")) for span in SPANS}
    return Policy(**rules, tags=[tuple(text.split(",")) for text in args.keep_tag])


def forget(session: Session) -> int:
    """Remove snapshots by id or by rules, and free their space if that is asked for."""
    args = session.args
    policy = policy_from(args)
    if policy.empty and not args.ids and not args.unsafe_allow_remove_all:
        raise BadRequest("no rule and no snapshot given: nothing would be removed")
    with session.repository("exclusive", index=args.prune) as repository:
        watch = watch_of(session, "forget")
        if args.ids:
            ids = [snapshot.id for snapshot in choose_snapshots(session, repository, args.ids)]
            result = remove_snapshots(repository, ids, dry_run=args.dry_run, watch=watch)
        elif policy.empty:
            if not (args.host or args.tag or args.path):
                raise BadRequest("--unsafe-allow-remove-all needs --host, --tag or --path")
            ids = [snapshot.id for snapshot in choose_snapshots(session, repository, [])]
            result = remove_snapshots(repository, ids, dry_run=args.dry_run, watch=watch)
        else:
            result = forget_by_policy(
                repository,
                policy,
                matching=filter_from(args),
                grouping=args.group_by,
                dry_run=args.dry_run,
                watch=watch,
            )
        _show_groups(session, result.groups)
        verb = "would remove" if args.dry_run else "removed"
        session.console.line(f"{verb} {len(result.removed)} snapshots")
        if session.console.json:
            fields = {"message_type": "summary", "removed": result.removed, "left_behind": result.left_behind}
            session.console.record(fields | {"dry_run": args.dry_run})
        for name in result.left_behind:
            session.console.warn(f"snapshot {name} could not be removed")
        if args.prune and result.removed:
            _prune(session, repository, forgotten=result.removed)
    return 1 if result.left_behind else 0


def _show_groups(session: Session, groups: list[ForgetGroup]) -> None:
    for group in groups:
        if session.console.json:
            session.console.record(
                {
                    "message_type": "group",
                    "group": str(group.key),
                    "keep": [snapshot_fields(d.snapshot) | {"reasons": d.reasons} for d in group.keep],
                    "remove": [snapshot_fields(snapshot) for snapshot in group.remove],
                }
            )
            continue
        session.console.line(f"snapshots for {group.key}:" if str(group.key) else "all snapshots:")
        session.console.line(f"keep {len(group.keep)} snapshots:")
        lines = list(snapshot_table([decision.snapshot for decision in group.keep], compact=True))
        session.console.line(lines[0])
        for line, decision in zip(lines[1:], group.keep, strict=True):
            session.console.line(f"{line}  ({', '.join(decision.reasons)})")
        if group.remove:
            session.console.line(f"remove {len(group.remove)} snapshots:")
            for line in snapshot_table(group.remove, compact=True):
                session.console.line(line)
        session.console.line()


def prune(session: Session) -> int:
    """Free the space of what no snapshot needs."""
    with session.repository("exclusive") as repository:
        _prune(session, repository)
    return 0


def _prune(session: Session, repository: Repository, *, forgotten: list[str] | None = None) -> None:
    args = session.args
    options = PruneOptions(
        max_unused=Unused.parse(args.max_unused),
        max_repack=parse_size(args.max_repack_size) if args.max_repack_size else None,
        repack_smaller_than=parse_size(args.repack_smaller_than) if args.repack_smaller_than else None,
        repack_cacheable_only=args.repack_cacheable_only,
        repack_uncompressed=args.repack_uncompressed,
        workers=args.workers,
    )
    report = prune_repository(
        repository, options, dry_run=args.dry_run, forgotten=forgotten or (), watch=watch_of(session, "prune")
    )
    _show_prune(session, report)


def _show_prune(session: Session, report: PruneReport) -> None:
    console = session.console
    if console.json:
        fields = msgspec.to_builtins(report) | {"freed_bytes": report.freed_bytes}
        console.record({"message_type": "prune", "dry_run": session.args.dry_run} | fields)
        return
    console.line()
    console.line(f"in use:       {report.used.blobs:10} blobs, {human_bytes(report.used.bytes)}")
    console.line(f"not needed:   {report.unused.blobs:10} blobs, {human_bytes(report.unused.bytes)}")
    console.line(f"stored twice: {report.duplicate.blobs:10} blobs, {human_bytes(report.duplicate.bytes)}")
    console.line(f"in no index:  {report.packs_unreferenced:10} packs, {human_bytes(report.unreferenced_bytes)}")
    copy, write = ("would copy", "would free") if session.args.dry_run else ("copied", "freed")
    console.line(f"{copy} the rest of {report.packs_repacked} packs, removed whole packs: {report.packs_removed}")
    console.line(f"{write} {human_bytes(report.freed_bytes)}; {human_bytes(report.unused_after_bytes)} stay unused")
    if report.left_behind:
        console.warn(f"{report.left_behind} objects could not be removed; the next prune tries again")


def repair(session: Session) -> int:
    """Repair the index, packs or snapshots."""
    return {"index": _repair_index, "packs": _repair_packs, "snapshots": _repair_snapshots}[session.args.what](session)


def _repair_index(session: Session) -> int:
    with session.repository("exclusive", index=False) as repository:
        watch = watch_of(session, "repair")
        result = repair_index(repository, read_all_packs=session.args.read_all_packs, watch=watch)
    if session.console.json:
        session.console.record({"message_type": "summary"} | msgspec.to_builtins(result))
    console = session.console
    console.line(
        f"unreadable index objects: {len(result.damaged_indexes)}, packs that are gone: {len(result.missing_packs)}"
    )
    console.line(f"packs entered anew: {len(result.read_packs)}, unreadable packs: {len(result.unreadable_packs)}")
    console.line("the index was written anew" if result.changed else "the index needed no repair")
    return 0


def _repair_packs(session: Session) -> int:
    with session.repository("exclusive") as repository:
        watch = watch_of(session, "repair")
        known = {pack.hex() for pack in repository.index.packs} | repository.ids(DATA).keys()
        names = [choose_id(DATA, known, text) for text in session.args.ids]
        result = repair_packs(repository, names, copies=Path.cwd(), watch=watch)
    if session.console.json:
        session.console.record({"message_type": "summary"} | msgspec.to_builtins(result))
    session.console.line(
        f"saved {result.saved} blobs, lost {len(result.lost)}; copies of the packs are in {Path.cwd()}"
    )
    for name in result.missing_packs:
        session.console.warn(f"pack {name} is gone: nothing of it could be saved")
    session.console.line("Next: make a new backup, then repair snapshots.")
    return 0


def _repair_snapshots(session: Session) -> int:
    args = session.args
    with session.repository("exclusive") as repository:
        result = repair_snapshots(
            repository,
            choose_snapshots(session, repository, args.ids),
            forget=args.forget,
            dry_run=args.dry_run,
            watch=watch_of(session, "repair"),
        )
        if args.forget and not args.dry_run and not args.ids:
            gone = remove_snapshots(repository, session.damaged_snapshots, watch=watch_of(session, "repair"))
            result.removed += gone.removed
            result.left_behind += gone.left_behind
    for change in result.changes:
        if session.console.json:
            session.console.record({"message_type": "change", "path": change.path, "what": change.what})
        session.console.line(f"{change.path}: {change.what}")
    for old, new in result.repaired:
        if session.console.json:
            session.console.record({"message_type": "repaired", "old_snapshot_id": old.id, "new_snapshot_id": new.id})
        session.console.line(f"snapshot {old.id[:8]} becomes {new.id[:8] or '(dry run)'}")
    for snapshot in result.lost:
        session.console.warn(f"snapshot {snapshot.id[:8]} cannot be repaired: its root is lost")
    session.console.line(f"{len(result.repaired)} snapshots repaired, {len(result.removed)} removed")
    return 0


def recover(session: Session) -> int:
    """Make a snapshot of folders no snapshot refers to."""
    with session.repository("exclusive") as repository:
        snapshot = recover_trees(repository, watch=watch_of(session, "recover"))
    if snapshot is None:
        session.console.line("nothing is lost: every tree belongs to a snapshot")
    else:
        session.console.line(f"snapshot {snapshot.id[:8]} lists what was found under /recover")
    if session.console.json:
        session.console.record({"message_type": "summary", "snapshot_id": snapshot.id if snapshot else ""})
    return 0


def upgrade(session: Session) -> int:
    """Upgrade a version 1 repository."""
    with session.repository("exclusive") as repository:
        upgrade_repository(repository, watch=watch_of(session, "upgrade"), workers=session.args.workers)
    session.console.line("the repository has version 2 now; what is stored stays as it is until it is written again")
    return 0

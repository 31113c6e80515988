"""``init`` and ``backup``."""

from __future__ import annotations

import argparse
import functools
import getpass
import os
import sys
import time
from datetime import datetime
from pathlib import Path

from backups.engine.archiver import BackupOptions, BackupResult, SnapshotInfo, backup
from backups.engine.blob import Codec
from backups.engine.cli.session import Session
from backups.engine.errors import BadRequest
from backups.engine.output import human_bytes, human_seconds
from backups.engine.pack import MAX_PACK_SIZE, MIN_PACK_SIZE
from backups.engine.patterns import Patterns, parse_pattern_file
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot, choose_parent, find_snapshot
from backups.engine.times import TimeFormatter

MEBIBYTE = 1024 * 1024


def run_backup(session: Session) -> int:
    """Back up paths or standard input."""
    args = session.args
    if bool(args.paths or args.files_from) == args.stdin:
        raise BadRequest("give one or more paths, or --stdin" if not args.paths else "--stdin takes no paths")
    moment = parse_moment(args.time) if args.time else time.time_ns()
    targets = [os.fsencode(path) for path in [*args.paths, *_listed(args.files_from)]]
    info = SnapshotInfo(
        time=TimeFormatter(None).format(moment),
        paths=[_text(os.path.abspath(t)) for t in targets]  # noqa: PTH100 - by its text alone, as the format does
        or [f"/{args.stdin_filename.lstrip('/')}"],
        hostname=args.host or os.uname().nodename,
        username=_user(),
        uid=os.getuid(),
        gid=os.getgid(),
        excludes=[*args.exclude, *args.iexclude],
        tags=[tag for text in args.tag for tag in text.split(",") if tag],
    )
    options = BackupOptions(
        codec=Codec.named(args.compression),
        pack_size=pack_size(args.pack_size),
        dry_run=args.dry_run,
        skip_if_unchanged=args.skip_if_unchanged,
        workers=args.workers,
        workspace=Path(args.workspace) if args.workspace else None,
    )
    if args.stdin:
        name = os.fsencode(args.stdin_filename)
        source = session.wiring.stream_source(name, sys.stdin.buffer, mtime=moment)
    else:
        source = session.wiring.folder_source(
            targets,
            excluded=excluder(args),
            one_file_system=args.one_file_system,
            exclude_caches=args.exclude_caches,
        )
    progress = session.progress("archival")
    with session.repository("none" if args.dry_run else "shared") as repository:
        parent = None if args.stdin or args.force else _parent(session, repository, info, moment)
        if parent is not None:
            session.console.line(f"using parent snapshot {parent.id[:8]}")
        result = backup(
            repository,
            source,
            info,
            parent=parent,
            options=options,
            progress=progress,
            cancel=session.cancel,
            guard=session.guard,
        )
    _report(session, result)
    return 0 if result.complete else 3


def _parent(session: Session, repository: Repository, info: SnapshotInfo, moment: int) -> Snapshot | None:
    args, snapshots = session.args, session.snapshots(repository)
    if args.parent:
        return find_snapshot(snapshots, args.parent)[0]
    return choose_parent(
        snapshots, hostname=info.hostname, paths=info.paths, not_after=moment, tags=info.tags, grouping=args.group_by
    )


def _report(session: Session, result: BackupResult) -> None:
    counts = result.counts
    console = session.console
    if console.json:
        fields = {name: getattr(counts, name) for name in counts.__struct_fields__}
        fields |= {
            "message_type": "summary",
            "dry_run": session.args.dry_run,
            "total_duration": result.seconds,
            "snapshot_id": result.snapshot_id,
            "packs": result.packs,
            "stored_bytes": result.stored_bytes,
            "problems": len(result.problems),
        }
        console.record(fields)
        return
    verb = "Would add" if session.args.dry_run else "Added"
    console.line()
    console.line(
        f"Files:    {counts.files_new:8} new, {counts.files_changed:8} changed, {counts.files_unmodified:8} unmodified"
    )
    console.line(
        f"Folders:  {counts.dirs_new:8} new, {counts.dirs_changed:8} changed, {counts.dirs_unmodified:8} unmodified"
    )
    console.line(
        f"{verb} to the repository: {human_bytes(counts.data_added)} ({human_bytes(counts.data_added_packed)} stored)"
    )
    console.line()
    console.line(
        f"processed {counts.total_files_processed} files, {human_bytes(counts.total_bytes_processed)} "
        f"in {human_seconds(result.seconds)}"
    )
    if result.snapshot_id:
        console.line(f"snapshot {result.snapshot_id[:8]} saved")
    elif not session.args.dry_run:
        console.line("nothing changed; no snapshot was made")
    if result.problems:
        console.warn(
            f"{len(result.problems)} items were left out or changed while they were read; the snapshot is incomplete"
        )


def excluder(args: argparse.Namespace) -> functools.partial[bool] | None:
    """Return the exclusion test of --exclude, --iexclude and their files, or None."""
    lists = pattern_lists(args.exclude, args.exclude_file, args.iexclude, args.iexclude_file)
    return functools.partial(_excluded, lists) if lists else None


def pattern_lists(plain: list[str], files: list[str], folded: list[str], folded_files: list[str]) -> list[Patterns]:
    """Return the compiled patterns of options and pattern files; those that ignore case apart."""
    lists: list[Patterns] = []
    if texts := [*plain, *_pattern_files(files)]:
        lists.append(Patterns(texts))
    if texts := [*folded, *_pattern_files(folded_files)]:
        lists.append(Patterns(texts, ignore_case=True))
    return lists


def _excluded(lists: list[Patterns], path: bytes, _is_folder: bool) -> bool:
    return any(patterns.matches_entry(path) for patterns in lists)


def _pattern_files(names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        try:
            found += parse_pattern_file(Path(name).read_bytes(), os.environ)
        except OSError as error:
            raise BadRequest(f"the pattern file {name} cannot be read: {error.strerror}") from error
    return found


def _listed(names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        try:
            raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as error:
            raise BadRequest(f"the list {name} cannot be read: {error.strerror}") from error
        parts = raw.split(b"\0") if b"\0" in raw else raw.splitlines()
        found += [os.fsdecode(part) for part in parts if part.strip()]
    return found


def pack_size(mebibytes: int | None) -> int:
    """Return a target pack size in bytes from a number of MiB, 16 if None.  Raises BadRequest."""
    size = (16 if mebibytes is None else mebibytes) * MEBIBYTE
    if not MIN_PACK_SIZE <= size <= MAX_PACK_SIZE:
        raise BadRequest(f"a pack size of {mebibytes} MiB; between 4 and 128 is possible")
    return size


def parse_moment(text: str) -> int:
    """Return nanoseconds since the epoch of ``2026-11-21 03:00:00`` (local) or an RFC 3339 text, or of ``now``."""
    if text == "now":
        return time.time_ns()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(f"{text!r} is no time; write 2026-11-21 03:00:00") from error
    moment = moment if moment.tzinfo else moment.astimezone()
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1_000_000_000 + moment.microsecond * 1000


def _text(path: bytes) -> str:
    return path.decode("utf-8", "replace")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""

"""``check``: look for damage."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import msgspec

from backups.engine.check_subset import Position, Subset
from backups.engine.checker import Check, CheckOptions
from backups.engine.cli.session import Session
from backups.engine.errors import BadRequest
from backups.engine.findings import Finding
from backups.engine.output import human_bytes


def check(session: Session) -> int:
    """Look for damage; 0 if there is none."""
    args = session.args
    subset = Subset.parse(args.read_data_subset) if args.read_data_subset else Subset() if args.read_data else None
    if (args.position_file or args.time_limit) and subset is None:
        raise BadRequest("--position-file and --time-limit go with --read-data or --read-data-subset")
    options = CheckOptions(
        read=subset,
        position=_load_position(args.position_file),
        deadline=time.monotonic() + args.time_limit if args.time_limit else None,
        workers=args.workers,
    )
    with session.repository("exclusive", index=False) as repository:
        run = Check(repository, options, session.progress("check"), session.cancel)
        for finding in run.findings():
            _show(session, finding)
    if args.position_file:
        _save_position(args.position_file, run.position)
    return _report(session, run)


def _show(session: Session, finding: Finding) -> None:
    console = session.console
    if console.json:
        fields = msgspec.to_builtins(finding) | {"severity": finding.severity, "path": os.fsdecode(finding.path)}
        console.record({"message_type": "finding"} | fields)
        return
    where = f" [in {os.fsdecode(finding.path)}]" if finding.path else ""
    hit = (
        f"; snapshots that lose something: {', '.join(name[:8] for name in finding.snapshots)}"
        if finding.snapshots
        else ""
    )
    console.warn(f"{finding.severity}: {finding.message}{where}{hit}")


def _report(session: Session, run: Check) -> int:
    counts, console = run.counts, session.console
    if console.json:
        console.record({"message_type": "summary", "missing_packs": run.missing_packs} | dataclasses.asdict(counts))
    console.line(f"{counts.snapshots} snapshots, {counts.trees} trees, {counts.blobs} blobs in {counts.packs} packs")
    if counts.packs_read:
        console.line(f"read {counts.packs_read} packs, {human_bytes(counts.bytes_read)}")
    if run.position is not None:
        console.line("not everything was read; the next check with this position file goes on from here")
    if counts.errors:
        console.warn(
            f"{counts.errors} errors were found. Next: repair index, a new backup, repair snapshots, check again."
        )
        return 1
    console.line("no errors were found")
    return 0


def _load_position(path: str | None) -> Position | None:
    if not path or not Path(path).exists():
        return None
    try:
        raw = Path(path).read_bytes()
        return Position.from_json(msgspec.json.decode(raw)) if raw.strip() else None
    except (OSError, msgspec.MsgspecError) as error:
        raise BadRequest(f"the position file {path} cannot be used: {error}") from error


def _save_position(path: str, position: Position | None) -> None:
    temporary = Path(f"{path}-tmp-{os.getpid()}")
    temporary.write_bytes(msgspec.json.encode(position.to_json()) if position is not None else b"")
    temporary.replace(path)

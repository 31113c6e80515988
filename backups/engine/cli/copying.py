"""``copy``: snapshots of another repository."""

from __future__ import annotations

import msgspec

from backups.engine.cli.maintain import watch_of
from backups.engine.cli.session import Session, choose_snapshots, read_password
from backups.engine.copying import copy_snapshots


def copy(session: Session) -> int:
    """Copy snapshots from another repository into this one."""
    args = session.args
    source = session.open(args.from_repo, read_password(args.from_password_file, "HOLDFAST_FROM_PASSWORD_FILE"))
    with source.locked(exclusive=False, wait=args.retry_lock), session.repository() as target:
        source.load_index()
        watch = watch_of(session, "copy")
        result = copy_snapshots(source, target, choose_snapshots(source, args.ids, args), watch=watch)
    source.close()
    if session.console.json:
        session.console.record({"message_type": "summary"} | msgspec.to_builtins(result))
    session.console.line(f"copied {len(result.copied)} snapshots, {len(result.skipped)} were there already")
    return 0

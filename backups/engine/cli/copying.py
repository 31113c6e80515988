"""``copy``: snapshots of another repository."""

from __future__ import annotations

from backups.engine.cli.maintain import watch_of
from backups.engine.cli.session import Session, choose_snapshots
from backups.engine.copying import copy_snapshots


def copy(session: Session) -> int:
    """Copy snapshots from another repository into this one."""
    args = session.args
    source = session.open_source()
    with source.locked(exclusive=False, wait=args.retry_lock), session.repository() as target:
        source.close_listing()
        source.load_index()
        watch = watch_of(session, "copy")
        result = copy_snapshots(source, target, choose_snapshots(session, source, args.ids), watch=watch)
    source.close()
    console = session.console
    for old, new in result.copied:
        if console.json:
            console.record({"message_type": "copied", "old_snapshot_id": old.id, "new_snapshot_id": new.id})
        console.line(f"snapshot {old.id[:8]} is {new.id[:8]} here")
    if console.json:
        fields = {"copied": len(result.copied), "skipped": len(result.skipped), "blobs": result.blobs}
        console.record({"message_type": "summary", "bytes": result.bytes, "packs": result.packs} | fields)
    console.line(f"copied {len(result.copied)} snapshots, {len(result.skipped)} were there already")
    if not result.same_chunker:
        console.line("The repositories cut files differently, so copies do not share data with backups made here.")
    return 0

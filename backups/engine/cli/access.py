"""``key``, ``locks`` and ``unlock``."""

from __future__ import annotations

import time

from backups.engine import locks as lock_objects
from backups.engine.cli.session import Session


def locks(session: Session) -> int:
    """List the locks."""
    with session.repository("none", index=False) as repository:
        found = lock_objects.list_locks(repository)
    for name, lock in found:
        if session.console.json:
            fields = {"id": name, "readable": lock is not None}
            if lock is not None:
                fields |= {field: getattr(lock, field) for field in lock.__struct_fields__}
            session.console.record(fields)
        else:
            age = "" if lock is None else f", {int(lock.age(time.time()))} s ago"
            session.console.result(f"{name[:10]}  {lock or 'cannot be read'}{age}")
    return 0


def unlock(session: Session) -> int:
    """Remove stale locks, or all."""
    with session.repository("none", index=False) as repository:
        removed = lock_objects.unlock(repository, remove_all=session.args.remove_all)
    if session.console.json:
        session.console.record({"message_type": "unlocked", "removed": removed})
    else:
        session.console.line(f"removed {len(removed)} locks")
    return 0

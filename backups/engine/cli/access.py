"""``key``, ``locks`` and ``unlock``."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from backups.engine import keyring, keys
from backups.engine import locks as lock_objects
from backups.engine.cli.session import Session, read_password


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


def key(session: Session) -> int:
    """List, add or remove keys, or change the password in use."""
    return {"list": _list_keys, "add": _add_key, "passwd": _change_password, "remove": _remove_key}[session.args.what](
        session
    )


def _list_keys(session: Session) -> int:
    with session.repository(index=False) as repository:
        found = keyring.list_keys(repository)
    if session.console.json:
        session.console.record([msgspec.to_builtins(info) for info in found])
        return 0
    for info in found:
        mark = "*" if info.current else " "
        text = info.problem or f"{info.username}@{info.hostname}  {info.created}"
        session.console.result(f"{mark}{info.id[:8]}  {text}")
    return 0


def _new_key(session: Session) -> dict[str, Any]:
    args = session.args
    params = keys.calibrate() if args.calibrate_key else keys.KdfParams()
    password = read_password(args.new_password_file, "HOLDFAST_NEW_PASSWORD_FILE")
    return {"password": password, "params": params, "username": args.user, "hostname": args.host}


def _add_key(session: Session) -> int:
    with session.repository(index=False) as repository:
        name = keyring.add_key(repository, **_new_key(session))
    return _say_key(session, name, "added")


def _change_password(session: Session) -> int:
    with session.repository("exclusive", index=False) as repository:
        name = keyring.change_password(repository, **_new_key(session))
    return _say_key(session, name, "changed; the new key is")


def _remove_key(session: Session) -> int:
    with session.repository("exclusive", index=False) as repository:
        name = keyring.remove_key(repository, session.args.id)
    return _say_key(session, name, "removed")


def _say_key(session: Session, name: str, verb: str) -> int:
    if session.console.json:
        session.console.record({"message_type": "summary", "key_id": name})
    session.console.line(f"{verb} key {name[:8]}" if not verb.endswith("is") else f"{verb} {name[:8]}")
    return 0

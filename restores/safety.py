"""The safety snapshot: a copy of exactly what a restore will touch, so that it can be undone."""

from __future__ import annotations

import json
from typing import Any

from backups.models import SnapshotKind
from backups.records import Origin
from backups.specs import component_command, parent_of
from panel.accounts.models import Account
from restores.choosing import Part, component_of, home_path, is_inside
from restores.models import Restore

_SYSTEM = "/etc"


def safety_command(item: int, restore: Restore, parts: list[Part]) -> dict[str, Any]:
    """Return the command that backs up the touched paths, with nothing left out and no link followed."""
    account = restore.account
    paths = [path for part in parts for path in part.paths]
    parent = parent_of(parts[0].snapshot.repository_id, account, "web")
    return {
        "do": "backup",
        "item": item,
        "hostname": account.server.name,
        "account": account.uid,
        "tags": [f"account:{account.uid}", f"kind:{SnapshotKind.SAFETY}", f"scope:{_scope(paths)}"],
        "components": _components(paths, account),
        "note": json.dumps({"format": 1, "account": account.uid, "name": account.name, "home": account.home}),
        "parent": parent.snapshot_id if parent else "",
        "owners": [account.system_uid, 0] if account.system_uid else [],
        "caches": True,
    }


def safety_origin(restore: Restore) -> Origin:
    """Return what the row of a restore's safety snapshot says of it."""
    paths = [path for part in restore.parts for path in part["paths"]]
    components = sorted({component_of(path) for path in paths})
    return Origin(SnapshotKind.SAFETY, _scope(paths), components, restore.account, restore.snapshot.schedule)


def _components(paths: list[str], account: Account) -> list[dict[str, Any]]:
    """Return components that hold nothing but the touched paths; the walk starts at folders that are ours to trust."""
    found: list[dict[str, Any]] = []
    top = home_path(account.home)
    inside = [path.removeprefix("web") for path in paths if is_inside(path, top)]
    if inside:
        found.append(component_command("web", account) | {"only": inside})
    config = [path.removeprefix("config") for path in paths if component_of(path) == "config"]
    if config:
        only = [_SYSTEM] if "" in config else config
        found.append({"name": "config", "paths": [_SYSTEM], "only": only})
    return found


def _scope(paths: list[str]) -> str:
    return "config" if all(component_of(path) == "config" for path in paths) else "web"

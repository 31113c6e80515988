"""From ids to what the engine is told.  Workers re-derive everything here; what the web tier wrote is only ids."""

from __future__ import annotations

import glob
import json
import os
from typing import Any

from backups.models import Schedule, Snapshot, SnapshotKind
from backups.selectors import COMPONENTS
from panel.accounts.models import Account

_CONFIG = (
    "/etc/nginx/sites-available/{name}",
    "/etc/nginx/sites-enabled/{name}",
    "/etc/nginx/conf.d/{name}",
    "/etc/php/*/fpm/pool.d/{name}",
)
_ENDINGS = ("", ".conf", ".ssl.conf", "-ssl.conf", "-le-ssl.conf", ".vhost")
"""What may follow a name: with anything at all, the files of alice2 or alice.example.org would be alice's too."""


def backup_command(
    item: int, account: Account, schedule: Schedule, kind: str, parent: Snapshot | None
) -> dict[str, Any]:
    """Return the command that backs up one account for a schedule."""
    components = COMPONENTS.get(schedule.scope, ())
    own = account.system_uid is not None
    return {
        "do": "backup",
        "item": item,
        "hostname": account.server.name,
        "account": account.uid,
        "tags": [f"account:{account.uid}", f"schedule:{schedule.pk}", f"kind:{kind}", f"scope:{schedule.scope}"],
        "components": [component_command(name, account) for name in components],
        "note": _note(account),
        "zone": schedule.zone,
        "parent": parent.snapshot_id if parent else "",
        "excludes": list(schedule.excludes),
        "owners": [account.system_uid, 0] if own and account.system_uid else [],
    }


def component_command(name: str, account: Account) -> dict[str, Any]:
    """Return what a command says of a component of an account."""
    command: dict[str, Any] = {"name": name, "paths": _paths(name, account), "homes": name == "web"}
    lock = getattr(account, "home_lock", None) if name == "web" else None
    return command if lock is None else command | {"mode": lock.mode}


def parent_of(repository_id: int, account: Account, scope: str) -> Snapshot | None:
    """Return the snapshot the next one is compared with."""
    same = Snapshot.objects.good().filter(repository=repository_id, account=account)
    return same.filter(scope=scope).order_by("-taken_at").first() or same.order_by("-taken_at").first()


def kind_of(trigger: str) -> str:
    """Return the kind of snapshot a job's trigger makes."""
    return trigger if trigger in SnapshotKind.values else SnapshotKind.MANUAL


def _paths(component: str, account: Account) -> list[str]:
    if component == "web":
        return [account.home]
    names = {glob.escape(name) for name in (account.system_user, account.domain) if name}
    patterns = [pattern.format(name=name + ending) for name in names for pattern in _CONFIG for ending in _ENDINGS]
    found = {path for pattern in patterns for path in glob.glob(pattern)}  # noqa: PTH207 - patterns are absolute
    return sorted(path for path in found if os.path.isfile(path))  # noqa: PTH113 - follows no rule of a Path


def _note(account: Account) -> str:
    return json.dumps(
        {
            "format": 1,
            "account": account.uid,
            "name": account.name,
            "system_user": account.system_user,
            "home": account.home,
            "domain": account.domain,
            "package": account.package.name,
        },
        indent=1,
    )

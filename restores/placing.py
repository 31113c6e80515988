"""From rows to what the engine is told: where things go and with whose rights.  For workers and readers.

Everything is derived and checked again here; what the web tier stored is only ids, paths and choices.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backups.models import Snapshot
from backups.spelling import clean, spell
from panel.accounts.models import Account, User
from panel.core.errors import Conflict, Invalid
from restores.choosing import Part, check_may_place, component_of, home_path, is_inside, stored_parts
from restores.models import Overwrite, Restore, Target
from restores.permissions import rules_for

_CONFIG_WALL = "/etc"
MOST_ITEMS = 20_000_000
"""Items of one restore or download of a customer; a hostile snapshot can seem to have any number."""


@dataclass(frozen=True, slots=True)
class Placing:
    """How to put items back.  ``folder`` is a spelled path in the home; ``undo`` brings back a safety snapshot."""

    account: Account
    target: str = Target.IN_PLACE
    folder: str = ""
    overwrite: str = Overwrite.IF_DIFFERENT
    mirror: bool = False
    exact: bool = False
    undo: bool = False
    by_admin: bool = False
    is_undo: bool = False


def placing_of(restore: Restore) -> Placing:
    """Return how a stored restore is done: with an administrator's rights only if one asked for it."""
    by_admin = restore.requested_by is not None and restore.requested_by.is_admin
    return Placing(
        account=restore.account,
        target=restore.target,
        folder=restore.folder,
        overwrite=restore.overwrite,
        mirror=restore.mirror,
        exact=restore.exact and by_admin,
        undo=restore.undo_of_id is not None and restore.mirror,
        by_admin=by_admin,
        is_undo=restore.undo_of_id is not None,
    )


def commands(placing: Placing, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return the restore commands for these parts, without their item.  PanelError."""
    account, found = placing.account, []
    in_place = placing.target == Target.IN_PLACE
    home, folder = home_path(account.home), clean(placing.folder)
    if not in_place and not folder:
        raise Invalid("Choose the folder to restore into.")
    for part in parts:
        if part.snapshot.account_id != account.pk:
            raise Invalid("A restore point of another account.")
        check_may_place(part.paths, account, part.snapshot, in_place=in_place, by_admin=placing.by_admin)
        common = {
            "do": "restore",
            "snapshot": part.snapshot.snapshot_id,
            "overwrite": placing.overwrite,
            "undo": placing.undo and in_place,
            "mirror": placing.mirror and in_place,
            "most": 0 if placing.by_admin else MOST_ITEMS,
        }
        inside = [path[len(home) + 1 :] for path in part.paths if is_inside(path, home)]
        if inside:
            found.append(common | _into_home(placing, home, folder, inside))
        others = [path for path in part.paths if not is_inside(path, home)]
        for component in sorted({component_of(path) for path in others}):
            below = [path.partition("/")[2] for path in others if component_of(path) == component]
            if in_place:
                found.append(common | _into_system(placing, component, below))
            else:
                found.append(common | _into_home(placing, component, f"{folder}/{component}", below))
    return found


def plan_commands(user: User, question: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the dry runs that a page asks for; the user sees all of the snapshots.  PanelError."""
    visible = Snapshot.objects.visible_to(user).present()
    numbers = [int(part["snapshot"]) for part in question["parts"]]
    if visible.filter(pk__in=numbers).values("repository").distinct().count() != 1:
        raise Invalid("These restore points are not there, or not in one place.")
    if visible.filter(pk__in=numbers).count() != len(set(numbers)):
        raise Invalid("This restore point does not exist any more.")
    parts = stored_parts(question["parts"])
    account = parts[0].snapshot.account
    if account is None:
        raise Conflict("The account of this restore point is gone.")
    placing = Placing(
        account,
        question["target"],
        question["folder"],
        question["overwrite"],
        mirror=bool(question["mirror"]),
        undo=bool(question.get("undo")),
        by_admin=user.is_admin,
    )
    count = min(int(question.get("count", 0)), 500)
    return [command | {"dry_run": True, "count": count} for command in commands(placing, parts)]


def archive_parts(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return what goes into an archive; items of several snapshots stand below a folder for each."""
    folders = _folders(parts) if len(parts) > 1 else [""]
    return [
        {"snapshot": part.snapshot.snapshot_id, "paths": list(part.paths), "prefix": folder}
        for part, folder in zip(parts, folders, strict=False)
    ]


def _folders(parts: Sequence[Part]) -> list[str]:
    """Name each part after the time of its snapshot; those of one second get numbers."""
    folders: list[str] = []
    for part in parts:
        time = f"{part.snapshot.taken_at:%Y-%m-%d %H.%M.%S}"
        used = sum(folder.startswith(time) for folder in folders)
        folders.append(f"{time} ({used + 1})" if used else time)
    return folders


def _into_home(placing: Placing, folder: str, below: str, paths: list[str]) -> dict[str, Any]:
    home = spell(os.fsencode(placing.account.home))
    return {
        "folder": folder,
        "paths": [] if "" in paths else paths,
        "target": home,
        "below": "" if placing.target == Target.IN_PLACE else below,
        "walls": [home],
        **_identity(placing),
        **_rules(placing, component_of(folder)),
    }


def _into_system(placing: Placing, component: str, paths: list[str]) -> dict[str, Any]:
    """Return the command for configuration: files of other accounts lie beside it, so nothing there is deleted."""
    return {
        "folder": component,
        "paths": [] if "" in paths else paths,
        "target": "/",
        "walls": [_CONFIG_WALL],
        "mirror": False,
        **({} if placing.exact else {"owner": [0, 0]}),
    }


def _rules(placing: Placing, component: str) -> dict[str, Any]:
    """Return the administrator's rules for what comes back; an undo and exact restores bring back what was."""
    if placing.exact or placing.is_undo:
        return {}
    rules = rules_for(component)
    return {"rules": [rule | {"pattern": spell(rule["pattern"].encode())} for rule in rules]} if rules else {}


def _identity(placing: Placing) -> dict[str, Any]:
    """Return whose rights are used and whose the files become.

    Customers write with their account's own rights.  An administrator's restore is root's, but what comes back
    belongs to the account, unless exactly the old owners were asked for.
    """
    account = placing.account
    user, group = account.system_uid, account.system_gid
    if user is None:
        try:
            info = Path(account.home).stat()
        except OSError as error:
            raise Conflict("The account's home folder is not there.") from error
        user, group = info.st_uid, info.st_gid
    group = user if group is None else group
    if placing.by_admin:
        return {} if placing.exact else {"owner": [user, group]}
    found: dict[str, Any] = {"owner": [user, group]}
    if user != 0:
        found |= {"user": user, "group": group}
    return found

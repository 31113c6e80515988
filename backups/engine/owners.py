"""Who owns a file, as a node says it: numbers, and names where this machine has them."""

from __future__ import annotations

import grp
import pwd
from typing import NamedTuple

from backups.engine.ports import Entry
from backups.engine.tree import owner_json


class Owner(NamedTuple):
    """``json`` is the four fields of a node as they stand in it."""

    json: str
    user: str
    group: str


class Owners:
    """Remembers whom it was asked about."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, bool], Owner] = {}

    def of(self, entry: Entry) -> Owner:
        """Return the owner of an item."""
        key = (entry.uid, entry.gid, entry.named)
        owner = self._known.get(key)
        if owner is None:
            user, group = (_user_name(entry.uid), _group_name(entry.gid)) if entry.named else ("", "")
            owner = self._known[key] = Owner(owner_json(entry.uid, entry.gid, user, group), user, group)
        return owner


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return ""


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return ""

"""What of an item's metadata may come back: everything, or what an account may have."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace

from backups.engine import Entry
from restores.targets.rules import Given, Rule, given

_SPECIAL_BITS = 0o6000
_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
_ACL_HEAD = struct.Struct("<I")
_ACL_ENTRY = struct.Struct("<HHI")
_NAMED_USER, _NAMED_GROUP = 0x02, 0x08

Attribute = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a folder target gives to what it restores.

    ``users`` and ``groups`` are the ids that may own something (None = any); others become ``user`` and
    ``group``.  ``special_bits`` are setuid and setgid.  ``attributes`` are the namespaces of extended
    attributes (None = all), which POSIX ACLs belong to whatever it says: they lose entries of foreign ids.

    ``rules`` overrule owner and mode by path; ``place`` is the folder that the items lie in, ``itself`` says that
    the item is that folder.
    """

    users: frozenset[int] | None = None
    groups: frozenset[int] | None = None
    user: int = 0
    group: int = 0
    special_bits: bool = True
    devices: bool = True
    attributes: tuple[bytes, ...] | None = None
    rules: tuple[Rule, ...] = ()
    place: bytes = b""
    itself: bool = False

    def at(self, place: bytes) -> Policy:
        """Return the policy for the items of a folder."""
        return replace(self, place=place.strip(b"/"), itself=False) if self.rules else self

    def of_itself(self) -> Policy:
        """Return the policy for the folder that ``place`` names."""
        return replace(self, itself=True) if self.rules else self

    def owner(self, entry: Entry) -> tuple[int, int]:
        """Return the user and group an item gets."""
        said = self._given(entry)
        uid = entry.uid if self.users is None or entry.uid in self.users else self.user
        gid = entry.gid if self.groups is None or entry.gid in self.groups else self.group
        return uid if said.user is None else said.user, gid if said.group is None else said.group

    def mode(self, entry: Entry) -> int:
        """Return the permission bits an item gets."""
        said = self._given(entry)
        if said.mode is not None:
            return said.mode
        mode = entry.mode & 0o7777
        return mode if self.special_bits else mode & ~_SPECIAL_BITS

    def _given(self, entry: Entry) -> Given:
        if not self.rules or entry.kind not in ("file", "dir"):
            return _NOTHING
        path = self.place if self.itself else b"/".join(filter(None, (self.place, entry.name)))
        return given(self.rules, path, is_folder=entry.kind == "dir")

    def allows_attribute(self, name: bytes) -> bool:
        """Tell whether an extended attribute of this name is set and removed at all."""
        return self.attributes is None or name in _ACLS or name.split(b".", 1)[0] in self.attributes

    def attributes_of(self, entry: Entry) -> list[Attribute]:
        """Return the extended attributes an item gets."""
        kept: list[Attribute] = []
        for name, value in entry.xattrs:
            if value is None or not self.allows_attribute(name):
                continue
            if name in _ACLS and (self.users is not None or self.groups is not None):
                value = self._own_acl(value)
                if not value:
                    continue
            kept.append((name, value))
        return kept

    def _own_acl(self, value: bytes) -> bytes:
        """Return an access list without entries of foreign ids; empty for what is no such list.

        Its mask stays even if no named entry is left: without it the group would get what the mask allowed.
        """
        if len(value) % _ACL_ENTRY.size != _ACL_HEAD.size:
            return b""
        kept = [value[: _ACL_HEAD.size]]
        for tag, rights, number in _ACL_ENTRY.iter_unpack(value[_ACL_HEAD.size :]):
            allowed = {_NAMED_USER: self.users, _NAMED_GROUP: self.groups}.get(tag)
            if allowed is None or number in allowed:
                kept.append(_ACL_ENTRY.pack(tag, rights, number))
        return b"".join(kept)


_NOTHING = Given()
LIKE_RESTIC = Policy()
"""Everything as it was: for a person at the command line, and an administrator who asks for it."""


def account_policy(user: int, group: int, *, groups: Iterable[int] = (), rules: Iterable[Rule] = ()) -> Policy:
    """Return what an account may have: its own ids, ``user.*`` attributes and access lists; no device, no setuid."""
    return Policy(
        users=frozenset((user,)),
        groups=frozenset((group, *groups)),
        user=user,
        group=group,
        special_bits=False,
        devices=False,
        attributes=(b"user",),
        rules=tuple(rules),
    )

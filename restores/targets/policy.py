"""What of an item's metadata may come back: everything, or what an account may have."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from backups.engine import Entry

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
    """

    users: frozenset[int] | None = None
    groups: frozenset[int] | None = None
    user: int = 0
    group: int = 0
    special_bits: bool = True
    devices: bool = True
    attributes: tuple[bytes, ...] | None = None

    def owner(self, entry: Entry) -> tuple[int, int]:
        """Return the user and group an item gets."""
        uid = entry.uid if self.users is None or entry.uid in self.users else self.user
        return uid, entry.gid if self.groups is None or entry.gid in self.groups else self.group

    def mode(self, entry: Entry) -> int:
        """Return the permission bits an item gets."""
        mode = entry.mode & 0o7777
        return mode if self.special_bits else mode & ~_SPECIAL_BITS

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


LIKE_RESTIC = Policy()
"""Everything as it was: for a person at the command line, and an administrator who asks for it."""


def account_policy(user: int, group: int, *, groups: Iterable[int] = ()) -> Policy:
    """Return what an account may have: its own ids, ``user.*`` attributes and access lists; no device, no setuid."""
    return Policy(
        users=frozenset((user,)),
        groups=frozenset((group, *groups)),
        user=user,
        group=group,
        special_bits=False,
        devices=False,
        attributes=(b"user",),
    )

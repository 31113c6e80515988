"""Rules that give restored files and folders an owner, a group or permissions by their path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

_PLAIN_BITS = 0o777


@dataclass(frozen=True)
class Rule:
    """What items get whose path matches ``pattern``; None leaves a thing as it is.

    ``*`` stands for anything but a slash, ``**`` for any number of folders; a pattern without a slash matches at
    every depth.  ``recursive`` counts everything below a match too.
    """

    pattern: bytes
    recursive: bool = False
    user: int | None = None
    group: int | None = None
    file_mode: int | None = None
    folder_mode: int | None = None

    @cached_property
    def _matches(self) -> re.Pattern[bytes]:
        parts = self.pattern.strip(b"/").split(b"/")
        if len(parts) == 1:
            parts.insert(0, b"**")
        text = b""
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            if part == b"**":
                text += b".+" if last else b"(?:[^/]+/)*"
                continue
            text += b"".join(_ONE.get(part[at : at + 1]) or re.escape(part[at : at + 1]) for at in range(len(part)))
            text += b"" if last else b"/"
        return re.compile(text + (b"(?:/.*)?" if self.recursive else b""), re.DOTALL)

    def covers(self, path: bytes) -> bool:
        """Tell whether the rule is about this path."""
        return self._matches.fullmatch(path) is not None


_ONE = {b"*": b"[^/]*", b"?": b"[^/]"}


@dataclass(frozen=True, slots=True)
class Given:
    """What rules give to one item; None = nothing said."""

    user: int | None = None
    group: int | None = None
    mode: int | None = None


def given(rules: Sequence[Rule], path: bytes, *, is_folder: bool) -> Given:
    """Return what the rules give to an item; a later rule overrules an earlier one."""
    user = group = mode = None
    for rule in rules:
        if not rule.covers(path):
            continue
        user = user if rule.user is None else rule.user
        group = group if rule.group is None else rule.group
        bits = rule.folder_mode if is_folder else rule.file_mode
        mode = mode if bits is None else bits & _PLAIN_BITS
    return Given(user, group, mode)

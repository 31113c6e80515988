"""Paths of a snapshot as text: every path of bytes has one spelling, and every spelling is one path.

Readable UTF-8 stands as it is.  A percent sign, control characters, characters that change the direction of a text, and
bytes that are no UTF-8 stand as ``%0A``.  A spelling fits into a row, a form and JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import AnyStr
from urllib.parse import unquote_to_bytes

_HIDDEN = "\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_ODD = re.compile(f"[%{_HIDDEN}]")
_UNSEEN = re.compile(f"[\\\\{_HIDDEN}]")
_NO_NAMES = frozenset((b"", b".", b".."))
LONGEST = 1 << 20
"""Characters of a spelling that is looked at: more than the longest path that a backup holds can have."""


def spell(raw: bytes) -> str:
    """Return the spelling of a path or name."""
    return _ODD.sub(_percent, raw.decode("utf-8", "surrogateescape"))


def unspell(text: str) -> bytes:
    """Return the bytes of a spelling.  ValueError for what is none."""
    return unquote_to_bytes(text)


def clean(text: str) -> str:
    """Return the one spelling of a relative path ``a/b``; empty for the top.

    ValueError for a path that is too long, or leaves the tree.
    """
    if len(text) > LONGEST:
        raise ValueError("the path is too long")
    raw = unspell(text).strip(b"/")
    if b"\0" in raw or (raw and any(part in _NO_NAMES for part in raw.split(b"/"))):
        raise ValueError("that is no path of a snapshot")
    return spell(raw)


def outermost(paths: Iterable[AnyStr], slash: AnyStr) -> list[AnyStr]:
    """Return those paths that lie in no other one of them, each once, in the order of their texts with a slash."""
    found: list[AnyStr] = []
    for path in sorted(paths, key=lambda path: path + slash):
        if not found or not (path + slash).startswith(found[-1] + slash):
            found.append(path)
    return found


def shown(raw: bytes) -> str:
    """Return a name as people read it: what cannot be seen or is no text stands as an escape."""
    return _UNSEEN.sub(_escape, raw.decode("utf-8", "surrogateescape"))


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


def _escape(match: re.Match[str]) -> str:
    if match[0] == "\\":
        return "\\\\"
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", "surrogateescape"))

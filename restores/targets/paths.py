"""Names and paths from a repository are a stranger's words: what is not one plain name is refused."""

from __future__ import annotations

import unicodedata

from backups.engine import TargetProblem

_NO_NAMES = frozenset((b"", b".", b".."))
_LONGEST = 240
"""Bytes of a component in an archive for other systems."""


def checked_name(name: bytes) -> bytes:
    """Return ``name`` if it names an item of its own folder; raise TargetProblem for all others."""
    if name in _NO_NAMES or b"/" in name or b"\0" in name:
        raise TargetProblem(f"{name[:80]!r} cannot be the name of an item")
    return name


def components(path: bytes) -> list[bytes]:
    """Return the checked names of a relative path ``a/b``; none for the empty path."""
    return [checked_name(part) for part in path.split(b"/")] if path else []


def portable_path(path: bytes) -> str:
    """Return a path that every program and system can unpack: UTF-8, no control character, no backslash, no way out."""
    return "/".join(_portable(part) for part in components(path))


def _portable(name: bytes) -> str:
    text = name.decode("utf-8", "backslashreplace")
    safe = "".join("_" if c in '\\:*?"<>|' or unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in text)
    while len(safe.encode()) > _LONGEST:
        safe = safe[:-1]
    return safe.rstrip(" .") or "_"

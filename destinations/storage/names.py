"""The rules for keys, and the temporary names under which unfinished objects hide."""

from __future__ import annotations

import os
import re

from destinations.storage.errors import BadConfig

_SEGMENT = r"[a-z0-9_][a-z0-9._-]{0,199}"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*", re.ASCII)
_TEMPORARY = re.compile(r".+-(?:tmp-[0-9]+|restic-temp-[0-9a-f]{32})", re.ASCII)
_LEFTOVER = re.compile(r"[a-z0-9_][a-z0-9._-]*-(?:tmp-[0-9]{1,20}|restic-temp-[0-9a-f]{32})", re.ASCII)
_LONGEST = 512
LEFT_SECONDS = 86_400
"""A temporary file this old is nobody's: no writer is at one object for so long, and one that were starts again."""


def is_key(key: str) -> bool:
    """Say whether ``key`` is a legal key: ASCII, lower case, no empty, ``.`` or ``..`` segment, not temporary."""
    return len(key) <= _LONGEST and _KEY.fullmatch(key) is not None and not is_temporary(key.rpartition("/")[2])


def check_key(key: str) -> str:
    """Return ``key``, or raise BadConfig if it breaks the rules."""
    if not is_key(key):
        raise BadConfig(f"{key[:80]!r} is not a legal object name")
    return key


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` (a folder, "" for everything) without a trailing slash, or raise BadConfig."""
    folder = prefix.rstrip("/")
    return check_key(folder) if folder else ""


def is_temporary(name: str) -> bool:
    """Say whether a file name (no folder) is that of an unfinished put, ours or stock restic's."""
    return _TEMPORARY.fullmatch(name) is not None


def is_leftover(name: str) -> bool:
    """Say whether a file name is temporary and, without its ending, a key's: such a file is left by a killed writer."""
    return len(name) <= _LONGEST and _LEFTOVER.fullmatch(name) is not None


def temporary_name(final: str) -> str:
    """Return a fresh temporary name for ``final``: ``<final>-tmp-<digits>``."""
    return f"{final}-tmp-{int.from_bytes(os.urandom(7), 'big')}"


def check_range(offset: int, length: int | None) -> None:
    """Raise ValueError unless offset and length can be a range."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError(f"not a range: offset {offset}, length {length}")

"""What a restore does with one item: how a node becomes an entry, and when something that is there stays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from backups.engine.errors import Corrupt, EngineError, TargetProblem
from backups.engine.names import unquote_name
from backups.engine.ports import Entry, EntryKind, Found, Selector, TargetFolder
from backups.engine.times import parse_time
from backups.engine.tree import Node, safe_name, unix_mode
from destinations.storage.errors import StoreError

Overwrite = Literal["always", "if-different", "if-newer", "never"]
_NO_NAMES = frozenset(("", ".", ".."))
_KINDS: frozenset[str] = frozenset(get_args(EntryKind))
ITEM_ERRORS = (OSError, Corrupt, TargetProblem)
"""What makes one item fail, and not the run."""
_unix_mode = functools.lru_cache(maxsize=4096)(unix_mode)
UNSTORED = "socket"
"""The kind of node that old programs stored and nobody restores."""
MAX_DEPTH = 2000
"""Folders below one another; a tree that goes on deeper was made to do harm."""


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """How to restore.

    ``select`` chooses items by path.  ``overwrite``: ``always`` makes everything equal to the snapshot,
    ``if-different`` takes files of equal size and time for equal, ``if-newer`` replaces only what is older,
    ``never`` only adds.  ``sparse`` leaves holes for zeros.  ``verify`` reads back what was written before it
    gets its name.  ``delete`` removes what the snapshot does not have (an exact mirror).  ``workers`` (None = by
    storage and machine, 0 = none) are helper processes.
    """

    select: Selector | None = None
    overwrite: Overwrite = "always"
    sparse: bool = False
    verify: bool = False
    delete: bool = False
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """An item that was not restored as it should be.  ``code`` is the stable code of the reason, or ``OSError``."""

    path: bytes
    reason: str
    code: str

    @classmethod
    def of(cls, path: bytes, error: Exception) -> Problem:
        """Describe why the item at ``path`` failed."""
        if isinstance(error, OSError):
            return cls(path, error.strerror or str(error), "OSError")
        return cls(path, str(error), error.code if isinstance(error, EngineError | StoreError) else "HF-ENGINE-FAILED")


def name_of(node: Node) -> bytes:
    """Return the raw name of a node.  Raises Corrupt for one that could lead out of its folder."""
    text = node.name
    if "\\" in text or '"' in text or "/" in text or "\0" in text or text in _NO_NAMES:
        return safe_name(unquote_name(text))
    return unquote_name(text)


def entry_of(node: Node, name: bytes) -> Entry:
    """Return a node as targets take it.  Raises Corrupt for what no item can have."""
    if node.type not in _KINDS:
        raise Corrupt(f"an item of the unknown type {node.type[:40]!a}", kind="tree")
    if node.type == "file" and node.content is None:
        raise Corrupt("a file without a list of its content", kind="tree")
    mtime = parse_time(node.mtime)
    entry = Entry(
        name,
        node.type,  # type: ignore[arg-type]
        _unix_mode(node.mode),
        mtime,
        0,
        node.uid,
        node.gid,
        node.inode,
        node.device_id,
        node.size,
        node.links,
        node.device,
    )
    if node.atime != node.mtime:
        entry.atime = parse_time(node.atime)
    if node.type == "symlink":
        entry.target = node.raw_target
    if node.extended_attributes:
        entry.xattrs = [(attribute.name.encode(), attribute.value) for attribute in node.extended_attributes]
    if b"\0" in entry.target or any(b"\0" in key for key, _ in entry.xattrs):
        raise Corrupt("a text with a zero byte in it", kind="tree")
    return entry


def stays(there: Found, entry: Entry, overwrite: Overwrite) -> bool:
    """Tell whether something that is there stays as it is, by the caller's rule."""
    return overwrite == "never" or (overwrite == "if-newer" and there.mtime >= entry.mtime)


def may_write(folder: TargetFolder, there: Found | None, entry: Entry, options: RestoreOptions) -> int:
    """Apply the rules to what stands under an item's name.

    Returns -1 if it stays, else how many items had to be removed to make room.  Raises TargetProblem, OSError.
    """
    if there is None:
        return 0
    if stays(there, entry, options.overwrite):
        return -1
    if there.kind != "dir":
        return 0
    if not options.delete:
        raise TargetProblem("a folder is in the way; only an exact mirror removes it")
    return folder.remove(entry.name)


def looks_equal(there: Found, entry: Entry) -> bool:
    """Tell whether size and time are those of the snapshot."""
    size = len(entry.target) if entry.kind == "symlink" else entry.size
    same_size = there.size == size or entry.kind not in ("file", "symlink")
    return there.kind == entry.kind and there.mtime == entry.mtime and same_size


def joined(path: bytes, name: bytes) -> bytes:
    """Return the path of an item of the folder at ``path``."""
    return path + b"/" + name if path else name


Warn = Callable[[Problem], None]

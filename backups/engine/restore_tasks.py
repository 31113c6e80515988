"""What the coordinator of a restore and its helpers tell each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from backups.engine.ports import Entry
from backups.engine.restore_rules import Problem

FOLDERS = 64
"""Folders a helper holds open at once."""

Content = tuple[Entry, bytes]
"""A file and the ids of its blobs, joined."""


class Spot(NamedTuple):
    """A folder to restore.  ``entry`` is its metadata, None for the top; ``above`` are folders of its path that are
    made only if something in them is wanted, itself last."""

    path: bytes
    tree: str
    entry: Entry | None
    fresh: bool
    above: tuple[tuple[bytes, Entry], ...] = ()


class Walk(NamedTuple):
    """Task: restore these folders, at most ``folders`` of them."""

    spots: list[Spot]
    folders: int = FOLDERS


class Files(NamedTuple):
    """Task: restore these files of one folder."""

    path: bytes
    items: list[Content]


class Piece(NamedTuple):
    """Task: a part of a large file that begins at ``offset``.

    ``token`` empty: only compare with the old file.  ``old``: copy from the old file what is right there.
    """

    number: int
    path: bytes
    entry: Entry
    content: bytes
    offset: int
    token: bytes
    old: bool


class Links(NamedTuple):
    """Task: make other names of files that are there, in one folder: (the entry, the path of the file)."""

    path: bytes
    names: list[tuple[Entry, bytes]]


class Hard(NamedTuple):
    """A file with several names, met under one of them.  Equal keys are names of one file."""

    key: tuple[int, int, bytes]
    path: bytes
    item: Content


Task = Walk | Files | Piece | Links


@dataclass(slots=True)
class Outcome:
    """What a task did, and what it leaves to be done."""

    files: int = 0
    written: int = 0
    folders: int = 0
    others: int = 0
    links: int = 0
    unchanged: int = 0
    unchanged_bytes: int = 0
    skipped: int = 0
    deleted: int = 0
    problems: list[Problem] = field(default_factory=list)
    spots: list[Spot] = field(default_factory=list)
    later: list[Files] = field(default_factory=list)
    hard: list[Hard] = field(default_factory=list)
    leave: list[tuple[bytes, Entry]] = field(default_factory=list)
    equal: bool = False
    fatal: Exception | None = None

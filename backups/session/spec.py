"""What a worker hands to a session process, and the commands it sends: versioned, plain data, checked on arrival."""

from __future__ import annotations

from typing import Any

import msgspec

VERSION = 1


class SessionSpec(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The repository of a session and how to behave.

    ``store`` is a destination's plain configuration with its secrets, ``path`` the repository's place in it.  ``keys``
    are passwords to try in turn; the first is added to the repository if only a later one opens it.  ``lock`` holds the
    format's shared lock, or its ``exclusive`` one; ``create`` makes the repository if nothing is there.  The
    ``stale_locks`` are of our own sessions that died: they are removed first.  ``group`` is a control group to enter.
    """

    version: int = VERSION
    store: dict[str, Any]
    path: str
    keys: list[str]
    expect: str = ""
    lock: bool = True
    create: bool = False
    cache: str = ""
    nice: int = 0
    exclusive: bool = False
    stale_locks: list[str] = []
    group: str = ""


class Component(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A top-level folder of a snapshot: absolute paths below it."""

    name: str
    paths: list[str]


class Backup(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="backup"):
    """Back up an account.  ``owners`` are the user ids whose hard links are read; empty = everybody's."""

    item: int
    hostname: str
    account: str
    tags: list[str]
    components: list[Component]
    note: str
    zone: str = "UTC"
    parent: str = ""
    excludes: list[str] = []
    owners: list[int] = []
    workers: int = 0


class Restore(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="restore"):
    """Restore ``paths`` of the folder ``folder`` of a snapshot (both relative, empty = all) into ``target``/``below``.

    With ``user`` the writing is done with the rights of that account.
    """

    item: int
    snapshot: str
    folder: str
    paths: list[str]
    target: str
    below: str = ""
    overwrite: str = "if-different"
    mirror: bool = False
    user: int | None = None
    group: int | None = None
    dry_run: bool = False


class List(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="list"):
    """List the folder at ``path`` of a snapshot, ``count`` items from ``start``."""

    item: int
    snapshot: str
    path: str
    start: int = 0
    count: int = 100


class Search(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="search"):
    """Find items whose name holds ``text``, up to ``count`` of them, below ``path``."""

    item: int
    snapshot: str
    path: str
    text: str
    count: int = 100


class Read(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="read"):
    """Return the first ``limit`` bytes of a file."""

    item: int
    snapshot: str
    path: str
    limit: int = 262144


class Sweep(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="sweep"):
    """Remove ``snapshots`` and free their space; ``always`` frees space even if none goes.

    ``most`` bytes are copied at most (0 = no limit).  The session needs the exclusive lock.
    """

    item: int
    snapshots: list[str]
    always: bool = False
    most: int = 0


class Inspect(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="inspect"):
    """Check the structure, then read data for ``seconds`` from ``position`` (none = from the start)."""

    item: int
    seconds: float
    position: dict[str, Any] | None = None


class Cancel(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="cancel"):
    """Stop an item."""

    item: int


Command = Backup | Restore | List | Search | Read | Sweep | Inspect | Cancel
_commands = msgspec.json.Decoder(Command)
_specs = msgspec.json.Decoder(SessionSpec)


def decode_command(line: bytes) -> Command:
    """Return the command of a line; msgspec.ValidationError for anything else."""
    return _commands.decode(line)


def decode_spec(data: bytes) -> SessionSpec:
    """Return the specification; ValueError for another version."""
    spec = _specs.decode(data)
    if spec.version != VERSION:
        raise ValueError(f"a specification of version {spec.version}; this engine takes {VERSION}")
    return spec

"""What a worker hands to a session process, and the commands it sends: versioned, plain data, checked on arrival."""

from __future__ import annotations

from typing import Any

import msgspec

VERSION = 1


class SessionSpec(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The repository of a session and how to behave.

    ``store`` is a destination's plain configuration with its secrets, ``path`` the repository's place in it.
    ``keys`` are passwords to try in turn; the first is added to the repository if only a later one opens it.
    ``expect`` is the id of the repository that was there before; ``shared`` a folder in which sessions count
    connections and bytes together.  ``lock`` holds the format's shared lock, or its ``exclusive`` one; ``create``
    makes the repository if nothing is there. The ``stale_locks`` are of our own sessions that died: they are
    removed first.  ``group`` is a control group to enter, ``memory`` how many bytes each process may take (0 = any).
    """

    version: int = VERSION
    store: dict[str, Any]
    path: str
    keys: list[str]
    expect: str = ""
    shared: str = ""
    lock: bool = True
    create: bool = False
    cache: str = ""
    nice: int = 0
    exclusive: bool = False
    stale_locks: list[str] = []
    group: str = ""
    memory: int = 0


class Component(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A top-level folder of a snapshot: absolute paths below it.

    With ``only`` (spelled absolute paths) everything else below the paths is left out.  ``homes`` are home folders:
    without one nothing is stored, and an administrator's link to one is followed.  ``mode`` are their own permissions,
    if those that they have now were taken away for a while.
    """

    name: str
    paths: list[str]
    only: list[str] = []
    homes: bool = False
    mode: int | None = None


class Backup(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="backup"):
    """Back up an account.

    ``owners`` are the user ids whose hard links are read; empty = everybody's.  ``caches`` takes folders with a cache
    tag too.
    """

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
    caches: bool = False


class PermissionRule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What restored items get whose path below the target matches; None leaves a thing as it is."""

    pattern: str
    recursive: bool = False
    user: int | None = None
    group: int | None = None
    file_mode: int | None = None
    folder_mode: int | None = None


class Restore(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="restore"):
    """Restore ``paths`` of the folder ``folder`` of a snapshot (relative to it, empty = all) into ``target``/``below``.

    Paths are spelled.  With ``user`` the writing is done with the rights of that account.  ``owner`` (user, group)
    are the ids of whom everything becomes; without it, owners, special bits and devices are as in the snapshot.
    ``rules`` then give some of it other owners and permissions.  ``lift`` says that the target's permissions are taken
    away, and that its owner could change it before.
    Nothing is written outside ``walls``, and nothing at all of more than ``most`` items (0 = any number).  ``mirror``
    deletes what the snapshot does not have; so does ``undo``, with the folders that were made only for it.  ``dry_run``
    says what would be done, counting for ``seconds`` at most.
    """

    item: int
    snapshot: str
    folder: str
    paths: list[str]
    target: str
    below: str = ""
    overwrite: str = "if-different"
    mirror: bool = False
    undo: bool = False
    user: int | None = None
    group: int | None = None
    owner: tuple[int, int] | None = None
    rules: list[PermissionRule] = []
    lift: bool = False
    walls: list[str] = []
    most: int = 0
    dry_run: bool = False
    seconds: float = 10.0
    count: int = 0


class ArchivePart(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Paths of one snapshot for an archive (empty = all), below ``prefix`` in it."""

    snapshot: str
    paths: list[str]
    prefix: str = ""


class Archive(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="archive"):
    """Write items of snapshots to the archive ``file``, which exists and is empty.

    ``strip`` is a folder whose items stand at the top of the archive.  ``keep_free`` bytes stay free on the disk.  Of
    more than ``most`` items there is none.
    """

    item: int
    parts: list[ArchivePart]
    file: str
    form: str = "zip"
    strip: str = ""
    keep_free: int = 0
    most: int = 0


class List(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="list"):
    """List the folder at ``path`` of a snapshot, ``count`` items from ``start``, by ``name``, ``size`` or ``date``.

    ``open_single`` goes on into folders that hold nothing but one folder.
    """

    item: int
    snapshot: str
    path: str
    start: int = 0
    count: int = 100
    sort: str = "name"
    down: bool = False
    open_single: bool = False


class Search(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="search"):
    """Find items whose name holds ``text``, up to ``count`` of them, below ``path``, for ``seconds`` at most."""

    item: int
    snapshot: str
    path: str
    text: str
    count: int = 200
    seconds: float = 10.0


class Versions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="versions"):
    """Tell the states of a path in several snapshots apart; ``snapshots`` are ids, newest first."""

    item: int
    snapshots: list[str]
    path: str


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
    """Check the structure, then read data for ``seconds`` from ``position`` (none = from the start).

    Snapshots in neither ``known`` nor ``removed`` are said, ``known`` ones that are not there are findings.
    """

    item: int
    seconds: float
    position: dict[str, Any] | None = None
    known: list[str] = []
    removed: list[str] = []


class About(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="about"):
    """Say what a snapshot says of its account."""

    item: int
    snapshot: str


class Cancel(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="do", tag="cancel"):
    """Stop an item."""

    item: int


Command = Backup | Restore | Archive | List | Search | Versions | Read | Sweep | Inspect | About | Cancel
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

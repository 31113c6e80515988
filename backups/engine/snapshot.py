"""Snapshots: what a repository says about one backup, and how snapshots are found, filtered and changed."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from backups.engine.errors import BadRequest, Corrupt, SnapshotMissing
from backups.engine.names import json_string
from backups.engine.times import parse_time

_Id = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_U32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_ID_OR_PREFIX = re.compile(r"[0-9a-fA-F]{1,64}").fullmatch


class Summary(msgspec.Struct, frozen=True):
    """The counts of the backup that made a snapshot.  Sizes are bytes, times RFC 3339 texts."""

    backup_start: str = "0001-01-01T00:00:00Z"
    backup_end: str = "0001-01-01T00:00:00Z"
    files_new: _Count = 0
    files_changed: _Count = 0
    files_unmodified: _Count = 0
    dirs_new: _Count = 0
    dirs_changed: _Count = 0
    dirs_unmodified: _Count = 0
    data_blobs: _Count = 0
    tree_blobs: _Count = 0
    data_added: _Count = 0
    data_added_packed: _Count = 0
    total_files_processed: _Count = 0
    total_bytes_processed: _Count = 0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot.  ``id`` names the stored object and is not part of its content; empty until it is stored."""

    time: str
    tree: _Id
    id: str = ""
    parent: _Id | None = None
    paths: list[str] = []
    hostname: str = ""
    username: str = ""
    uid: _U32 = 0
    gid: _U32 = 0
    excludes: list[str] = []
    tags: list[str] = []
    original: _Id | None = None
    program_version: str = ""
    summary: Summary | None = None

    @property
    def instant(self) -> int:
        """Nanoseconds since 1970."""
        return parse_time(self.time)

    def has_tags(self, tags: Iterable[str]) -> bool:
        """Whether all these tags are there; the empty tag asks for a snapshot without any."""
        for tag in tags:
            if not tag and not self.tags:
                return True
            if tag not in self.tags:
                return False
        return True


def decode_snapshot(data: bytes, snapshot_id: str) -> Snapshot:
    """The snapshot stored under this id.  Unknown fields are ignored.  Raises ``Corrupt``."""
    try:
        fields = msgspec.json.decode(data, type=dict[str, Any])
        known = {key: value for key, value in fields.items() if value is not None}
        snapshot = msgspec.convert({**known, "id": snapshot_id}, Snapshot)
        for text in (snapshot.time, *((s.backup_start, s.backup_end) if (s := snapshot.summary) else ())):
            parse_time(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Corrupt) as error:
        raise Corrupt(f"not a snapshot: {error}", kind="snapshot", object_id=snapshot_id) from None
    return snapshot


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The JSON to store, without the id."""
    pairs: list[tuple[str, bytes]] = [("time", json_string(snapshot.time))]
    if snapshot.parent:
        pairs.append(("parent", json_string(snapshot.parent)))
    pairs += [("tree", json_string(snapshot.tree)), ("paths", _list(snapshot.paths))]
    pairs += [(key, json_string(getattr(snapshot, key))) for key in ("hostname", "username") if getattr(snapshot, key)]
    pairs += [(key, b"%d" % getattr(snapshot, key)) for key in ("uid", "gid") if getattr(snapshot, key)]
    pairs += [(key, _list(getattr(snapshot, key))) for key in ("excludes", "tags") if getattr(snapshot, key)]
    if snapshot.original:
        pairs.append(("original", json_string(snapshot.original)))
    if snapshot.program_version:
        pairs.append(("program_version", json_string(snapshot.program_version)))
    if snapshot.summary:
        pairs.append(("summary", msgspec.json.encode(snapshot.summary)))
    return b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), value) for key, value in pairs)


def _list(texts: Sequence[str]) -> bytes:
    return b"[%b]" % b",".join(map(json_string, texts))


def parse_tags(text: str) -> tuple[str, ...]:
    """Tags written with commas between them, as one list of a filter: all of them are asked for."""
    return tuple(tag.strip() for tag in text.split(","))


@dataclass(frozen=True, slots=True)
class SnapshotFilter:
    """Which snapshots are meant: from one of the hosts, with all of the paths, with all tags of one of the tag lists.

    What is empty asks for nothing.
    """

    hosts: Sequence[str] = ()
    paths: Sequence[str] = ()
    tags: Sequence[Sequence[str]] = ()

    def matches(self, snapshot: Snapshot) -> bool:
        """Whether the snapshot is one of those meant."""
        return (
            (not self.hosts or snapshot.hostname in self.hosts)
            and set(snapshot.paths).issuperset(self.paths)
            and (not self.tags or any(snapshot.has_tags(tags) for tags in self.tags))
        )


EVERYTHING = SnapshotFilter()


def find_snapshot(
    snapshots: Iterable[Snapshot], wanted: str, matching: SnapshotFilter = EVERYTHING
) -> tuple[Snapshot, str]:
    """The snapshot that ``latest``, an id or the beginning of one names, and the folder after ``:``, empty if none.

    The filter applies to ``latest`` only.  Raises ``SnapshotMissing``, or ``BadRequest`` if several ids begin so.
    """
    name, _, folder = wanted.partition(":")
    if name == "latest":
        latest = max(filter(matching.matches, snapshots), key=lambda s: (s.instant, s.id), default=None)
        if latest is None:
            raise SnapshotMissing("no snapshot matches the filter")
        return latest, folder
    if not _ID_OR_PREFIX(name):
        raise SnapshotMissing(f"{name[:80]!r} is neither 'latest' nor a snapshot id")
    found = [snapshot for snapshot in snapshots if snapshot.id.startswith(name.lower())]
    if not found:
        raise SnapshotMissing(f"no snapshot id begins with {name}")
    if len(found) > 1:
        raise BadRequest(f"{len(found)} snapshot ids begin with {name}")
    return found[0], folder


@dataclass(frozen=True, slots=True)
class GroupKey:
    """What the snapshots of a group have in common; parts not grouped by are empty."""

    hostname: str = ""
    paths: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"host {self.hostname}"] if self.hostname else []
        parts += [f"path [{' '.join(self.paths)}]"] if self.paths else []
        parts += [f"tags [{' '.join(self.tags)}]"] if self.tags else []
        return ", ".join(parts)


DEFAULT_GROUPING = "host,paths"


def parse_grouping(text: str) -> frozenset[str]:
    """Of ``host``, ``path`` and ``tag`` those that a text like ``host,paths`` names.  Raises ``BadRequest``."""
    keys = {key.removesuffix("s") for key in text.split(",") if key}
    if unknown := keys - {"host", "path", "tag"}:
        raise BadRequest(f"cannot group by {min(unknown)!r}; use host, paths, tags")
    return frozenset(keys)


def group_by(snapshots: Iterable[Snapshot], grouping: str = DEFAULT_GROUPING) -> dict[GroupKey, list[Snapshot]]:
    """The snapshots by group, in the order they come.  Raises ``BadRequest``."""
    keys = parse_grouping(grouping)
    groups: dict[GroupKey, list[Snapshot]] = {}
    for snapshot in snapshots:
        key = GroupKey(
            hostname=snapshot.hostname if "host" in keys else "",
            paths=tuple(sorted(snapshot.paths, key=_utf8)) if "path" in keys else (),
            tags=tuple(sorted(snapshot.tags, key=_utf8)) if "tag" in keys else (),
        )
        groups.setdefault(key, []).append(snapshot)
    return groups


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def choose_parent(
    snapshots: Iterable[Snapshot],
    *,
    hostname: str,
    paths: Sequence[str],
    not_after: int,
    tags: Sequence[str] = (),
    grouping: str = DEFAULT_GROUPING,
) -> Snapshot | None:
    """The snapshot a new one is compared with: the newest of this host that has all the paths, not after the instant.

    ``paths`` are absolute; ``grouping`` says what has to agree.
    """
    keys = parse_grouping(grouping)
    related = SnapshotFilter(
        hosts=[hostname] if "host" in keys else (),
        paths=[clean_path(path) for path in paths] if "path" in keys else (),
        tags=[tags] if "tag" in keys else (),
    )
    candidates = (s for s in snapshots if s.instant <= not_after and related.matches(s))
    return max(candidates, key=lambda s: (s.instant, s.id), default=None)


def clean_path(path: str) -> str:
    """The path without empty, ``.`` and ``..`` parts, by its text alone."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def change_tags(
    snapshot: Snapshot, *, set_to: Sequence[str] = (), add: Sequence[str] = (), remove: Sequence[str] = ()
) -> Snapshot | None:
    """The snapshot to store in place of this one, or ``None`` if nothing changes.  A lone empty tag sets to none.

    ``set_to`` wins over the other two.
    """
    if set_to:
        tags = [] if list(set_to) == [""] else list(set_to)
    else:
        tags = list(snapshot.tags)
        tags += [tag for tag in dict.fromkeys(add) if tag not in tags]
        for tag in remove:
            _remove_as_stock_does(tags, tag)
        if not (set(add) - set(snapshot.tags) or set(remove) & {*snapshot.tags, *add}):
            return None
    return msgspec.structs.replace(snapshot, id="", tags=tags, original=snapshot.original or snapshot.id)


def _remove_as_stock_does(tags: list[str], tag: str) -> None:
    """The last tag takes the place of the removed one, so that both programs leave the same order."""
    if tag in tags:
        tags[tags.index(tag)] = tags[-1]
        tags.pop()


def copy_of(snapshot: Snapshot) -> Snapshot:
    """The snapshot as it is stored in another repository."""
    return msgspec.structs.replace(snapshot, id="", parent=None, original=snapshot.original or snapshot.id)


def same_for_copy(one: Snapshot, other: Snapshot) -> bool:
    """Whether two snapshots say the same about the same data, whatever their ids, parents and origins."""
    return (
        one.instant == other.instant
        and (one.tree, one.hostname, one.username, one.uid, one.gid)
        == (other.tree, other.hostname, other.username, other.uid, other.gid)
        and (one.paths, one.excludes, one.tags) == (other.paths, other.excludes, other.tags)
    )


def already_copied(snapshot: Snapshot, present: Iterable[Snapshot]) -> bool:
    """Whether the repository that holds ``present`` needs no copy of this snapshot."""
    origin = snapshot.original or snapshot.id
    return any(origin in (there.original, there.id) and same_for_copy(there, snapshot) for there in present)

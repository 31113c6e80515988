"""``snapshots``, ``ls``, ``find``, ``diff``, ``stats`` and ``cat``: looking without changing."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from backups.engine import diff as differences
from backups.engine.blob import BlobType, stored_plain_size
from backups.engine.cat import cat as show_object
from backups.engine.cat import needs_index
from backups.engine.cli.backup import parse_moment
from backups.engine.cli.session import Session, choose_snapshot, choose_snapshots
from backups.engine.errors import BadRequest, Corrupt
from backups.engine.find import find as find_items
from backups.engine.output import human_bytes
from backups.engine.patterns import Patterns
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot, find_snapshot, group_by
from backups.engine.stats import stats as measure
from backups.engine.times import parse_time
from backups.engine.tree import DIR, SYMLINK, Node, decode_tree, unix_mode
from backups.engine.watch import Watch


def snapshots(session: Session) -> int:
    """List snapshots, grouped if that is wanted."""
    args = session.args
    with session.repository(index=False) as repository:
        found = choose_snapshots(session, repository, args.ids)
    groups = group_by(found, args.group_by)
    if args.latest:
        groups = {key: items[-args.latest :] for key, items in groups.items()}
    if session.console.json:
        if args.group_by:
            session.console.record(
                [
                    {"group_key": str(key), "snapshots": [snapshot_fields(s) for s in items]}
                    for key, items in groups.items()
                ]
            )
        else:
            session.console.record([snapshot_fields(s) for items in groups.values() for s in items])
        return 0
    for key, items in groups.items():
        if args.group_by:
            session.console.result(f"snapshots for {key}:")
        for line in snapshot_table(items, compact=args.compact):
            session.console.result(line)
        session.console.result(f"{len(items)} snapshots")
    if not groups:
        session.console.line("there are no snapshots")
    return 0


def snapshot_fields(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as its JSON says it, with its ids."""
    fields: dict[str, Any] = {
        name: value
        for name, value in msgspec.to_builtins(snapshot).items()
        if value not in (None, "", [], 0) or name == "paths"
    }
    return fields | {"id": snapshot.id, "short_id": snapshot.id[:8]}


def snapshot_table(items: list[Snapshot], *, compact: bool) -> Iterator[str]:
    """Yield the lines of a table of snapshots."""
    host = max([4, *(len(s.hostname) for s in items)])
    tags = max([4, *(len(",".join(s.tags)) for s in items)])
    yield f"{'ID':8}  {'Time':19}  {'Host':{host}}  {'Tags':{tags}}  {'Size':>11}  Paths"
    for snapshot in items:
        size = human_bytes(snapshot.summary.total_bytes_processed) if snapshot.summary else ""
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(snapshot.instant // 1_000_000_000))
        first, *rest = snapshot.paths or [""]
        row = (
            f"{snapshot.id[:8]:8}  {clock}  {snapshot.hostname:{host}}  {','.join(snapshot.tags):{tags}}  {size:>11}  "
        )
        yield row + (", ".join(snapshot.paths) if compact else first)
        if not compact:
            for path in rest:
                yield " " * len(row) + path


def ls(session: Session) -> int:
    """List the items of a snapshot."""
    args = session.args
    with session.repository() as repository:
        snapshot, folder = choose_snapshot(session, repository, args.snapshot)
        root = descend(repository, snapshot.tree, os.fsencode(folder))
        wanted = [b"/" + os.fsencode(path).strip(b"/") for path in args.paths]
        if session.console.json:
            session.console.record(snapshot_fields(snapshot) | {"message_type": "snapshot"})
        else:
            session.console.line(f"snapshot {snapshot.id[:8]} of {', '.join(snapshot.paths)} at {snapshot.time}:")
        for path, node in walk(repository, root, wanted, recursive=args.recursive or not wanted):
            session.cancel.check()
            _show_item(session, path, node)
    return 0


def walk(repository: Repository, tree_id: str, wanted: list[bytes], *, recursive: bool) -> Iterator[tuple[bytes, Node]]:
    """Yield path and node of every item below a tree; ``wanted`` limits it to paths and their folders' items."""
    stack: list[tuple[bytes, Iterator[Node], str]] = [(b"", iter(decode_tree(repository.load_tree(tree_id))), tree_id)]
    while stack:
        base, nodes, _ = stack[-1]
        node = next(nodes, None)
        if node is None:
            stack.pop()
            continue
        path = base + b"/" + node.raw_name
        leads = not wanted or any(w == path or w.startswith(path + b"/") for w in wanted)
        below = any(path.startswith(w.rstrip(b"/") + b"/") for w in wanted)
        inside = below and (recursive or any(path.rpartition(b"/")[0] == w.rstrip(b"/") for w in wanted))
        if leads or inside:
            yield path, node
        if node.type == DIR and node.subtree and (not wanted or leads or (below and recursive)):
            if any(tree == node.subtree for _, _, tree in stack):
                raise Corrupt(f"tree {node.subtree} contains itself", kind="tree", object_id=node.subtree)
            stack.append((path, iter(decode_tree(repository.load_tree(node.subtree))), node.subtree))


def descend(repository: Repository, tree_id: str, folder: bytes) -> str:
    """Return the id of the tree of a folder below a tree.  BadRequest if there is none."""
    for part in [part for part in folder.split(b"/") if part]:
        node = next((n for n in decode_tree(repository.load_tree(tree_id)) if n.raw_name == part), None)
        if node is None or node.type != DIR or node.subtree is None:
            raise BadRequest(f"there is no folder {os.fsdecode(folder)!r} in this snapshot")
        tree_id = node.subtree
    return tree_id


def node_fields(path: bytes, node: Node) -> dict[str, Any]:
    """Return an item as the JSON output shows it."""
    mode = unix_mode(node.mode)
    fields: dict[str, Any] = {
        "name": os.fsdecode(node.raw_name),
        "type": node.type,
        "path": os.fsdecode(path),
        "uid": node.uid,
        "gid": node.gid,
        "size": node.size,
        "mode": node.mode,
        "permissions": stat.filemode(mode),
        "mtime": node.mtime,
        "atime": node.atime,
        "ctime": node.ctime,
        "inode": node.inode,
    }
    if node.type != "file":
        del fields["size"]
    return fields | ({"linktarget": node.linktarget} if node.type == SYMLINK else {})


def _show_item(session: Session, path: bytes, node: Node) -> None:
    if session.console.json:
        session.console.record(node_fields(path, node) | {"message_type": "node"})
    else:
        session.console.result(item_line(path, node) if session.args.long else os.fsdecode(path))


def item_line(path: bytes, node: Node) -> str:
    """Return the long form of one item."""
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(parse_time(node.mtime) // 1_000_000_000))
    target = f" -> {node.linktarget}" if node.type == SYMLINK else ""
    mode = stat.filemode(unix_mode(node.mode))
    return f"{mode} {node.uid:5} {node.gid:5} {node.size:10} {clock} {os.fsdecode(path)}{target}"


def find(session: Session) -> int:
    """Show every version of what matches, or every match with --long; 1 if a tree could not be read."""
    args = session.args
    damaged: list[bytes] = []
    patterns = Patterns(args.patterns, ignore_case=args.ignore_case)
    newest = parse_moment(args.newest) if args.newest else None
    oldest = parse_moment(args.oldest) if args.oldest else None
    with session.repository() as repository:
        found = choose_snapshots(session, repository, args.snapshot)
        by_id = {snapshot.id: snapshot for snapshot in found}

        def load(tree_id: str) -> list[Node]:
            session.cancel.check()
            return decode_tree(repository.load_tree(tree_id))

        def skip(path: bytes, error: Corrupt) -> None:
            damaged.append(path)
            session.console.warn(f"{os.fsdecode(path) or '/'} is left out: {error}")

        trees = [(snapshot.id, snapshot.tree) for snapshot in found]
        shown = ""
        for match in find_items(load, trees, patterns, oldest=oldest, newest=newest, on_damage=skip):
            if session.console.json:
                session.console.record(node_fields(match.path, match.node) | {"snapshot": match.snapshot_id})
                continue
            if match.snapshot_id != shown:
                shown = match.snapshot_id
                session.console.line(f"in snapshot {shown[:8]} of {by_id[shown].time}:")
            session.console.result(item_line(match.path, match.node) if args.long else os.fsdecode(match.path))
    return 1 if damaged else 0


def stats(session: Session) -> int:
    """Measure snapshots."""
    args = session.args
    with session.repository() as repository:
        chosen = choose_snapshots(session, repository, args.ids)
        watch = Watch(session.progress("stats"), session.cancel, session.guard)
        figures = measure(repository, chosen, args.mode, watch=watch, workers=args.workers)
    if session.console.json:
        session.console.record(msgspec.to_builtins(figures))
        return 0
    session.console.result(f"snapshots: {figures.snapshots_count}")
    for name, label in (("total_file_count", "files"), ("total_blob_count", "blobs")):
        if getattr(figures, name):
            session.console.result(f"{label}: {getattr(figures, name)}")
    if figures.total_uncompressed_size:
        session.console.result(f"uncompressed: {human_bytes(figures.total_uncompressed_size)}")
        session.console.result(f"compressed: {figures.compression_ratio:.2f} times smaller")
    session.console.result(f"size: {human_bytes(figures.total_size)}")
    return 0


def cat(session: Session) -> int:
    """Show one object, decoded."""
    args = session.args
    with session.repository(index=needs_index(args.type)) as repository:
        content = show_object(repository, args.type, args.id)
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
    return 0


def diff(session: Session) -> int:
    """Show what changed from one snapshot to another."""
    args = session.args
    with session.repository() as repository:
        everything = session.snapshots(repository)
        trees = []
        for wanted in (args.one, args.other):
            snapshot, folder = find_snapshot(everything, wanted)
            trees.append(descend(repository, snapshot.tree, os.fsencode(folder)))

        def load(tree_id: str) -> list[Node]:
            session.cancel.check()
            return decode_tree(repository.load_tree(tree_id))

        def blob_size(kind: str, blob_id: str) -> int | None:
            blob_type = BlobType.DATA if kind == "data" else BlobType.TREE
            place = repository.index.find(blob_type, bytes.fromhex(blob_id))
            return None if place is None else stored_plain_size(place.length, place.plain_size)

        statistics = differences.Statistics(blob_size)
        for change in differences.diff(load, trees[0], trees[1], metadata=args.metadata, statistics=statistics):
            if session.console.json:
                path = os.fsdecode(change.shown_path)
                session.console.record({"message_type": "change", "path": path, "modifier": change.mark})
            else:
                session.console.result(f"{change.mark:<4} {os.fsdecode(change.shown_path)}")
    _show_statistics(session, statistics)
    return 0


def _show_statistics(session: Session, statistics: differences.Statistics) -> None:
    sides = {"added": statistics.added, "removed": statistics.removed}
    if session.console.json:
        fields: dict[str, Any] = {"message_type": "statistics", "changed_files": statistics.changed_files}
        for name, counts in sides.items():
            fields[name] = {slot: getattr(counts, slot) for slot in counts.__dataclass_fields__}
        session.console.record(fields)
        return
    session.console.line()
    for word in ("files", "dirs", "others", "data_blobs", "tree_blobs"):
        new, gone = getattr(statistics.added, word), getattr(statistics.removed, word)
        changed = f", {statistics.changed_files} changed" if word == "files" else ""
        session.console.line(f"{word.replace('_', ' ').capitalize() + ':':12} {new:5} new, {gone:5} removed{changed}")
    session.console.line(f"{'Added:':12} {human_bytes(statistics.added.bytes)}")
    session.console.line(f"{'Removed:':12} {human_bytes(statistics.removed.bytes)}")

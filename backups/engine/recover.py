"""Finds trees that no snapshot and no other tree refers to, and makes a snapshot of them."""

from __future__ import annotations

import getpass
import mmap
import os
import socket
import time
from hashlib import sha256

import msgspec

from backups.engine.blob import BlobType
from backups.engine.edit import save_snapshot
from backups.engine.errors import Corrupt
from backups.engine.lean import lean_decoder
from backups.engine.names import name_json
from backups.engine.newpacks import packing
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot
from backups.engine.table import Table
from backups.engine.times import TimeFormatter
from backups.engine.tree import encode_dir_node, encode_tree, go_mode, owner_json
from backups.engine.watch import Watch

_NAME_DIGITS = 8
_UNREADABLE, _ROOT, _BELOW = 0, 1, 2


class _Node(msgspec.Struct, gc=False):
    type: str
    subtree: str | None = None


class _Tree(msgspec.Struct, gc=False):
    nodes: list[_Node]


_decode = lean_decoder(_Tree)


def recover(repository: Repository, *, watch: Watch | None = None) -> Snapshot | None:
    """Store a snapshot ``/recover`` that lists every lost tree by its id's beginning; None if nothing is lost.

    Under the exclusive lock and with the index loaded.  Trees that cannot be read are told to the watch.  Raises
    StoreError.
    """
    watch = watch or Watch()
    roots = find_lost_trees(repository, watch)
    if not roots:
        return None
    return save_snapshot(repository, _snapshot(_store_root(repository, roots)))


def find_lost_trees(repository: Repository, watch: Watch) -> list[bytes]:
    """Return the readable trees that nothing refers to, by id."""
    table = repository.index.compact()
    marks = mmap.mmap(-1, max(1, table.count))
    trees = _tree_numbers(table)
    for done, number in enumerate(trees):
        watch.step("reading trees", done=done, total=len(trees))
        try:
            _mark_below(repository, table, marks, number)
        except Corrupt as error:
            watch.problem(f"tree {table.key(number)[1].hex()}", error)
    for snapshot in repository.snapshots(lambda error: watch.problem(f"snapshots/{error.object_id}", error)):
        number = table.find(BlobType.TREE, bytes.fromhex(snapshot.tree))
        if number >= 0:
            marks[number] = _BELOW
    return sorted(table.key(number)[1] for number in trees if marks[number] == _ROOT)


def _tree_numbers(table: Table) -> list[int]:
    """Return the first record of every tree, in the order of the packs."""
    found: dict[bytes, int] = {}
    for number in range(table.count):
        kind, blob_id = table.key(number)
        if kind == BlobType.TREE:
            found.setdefault(blob_id, number)
    return sorted(found.values(), key=lambda number: table.location(number)[:2])


def _mark_below(repository: Repository, table: Table, marks: mmap.mmap, number: int) -> None:
    """Note that a tree is readable, and which trees it refers to."""
    tree_id = table.key(number)[1]
    nodes = _decode(repository.load_blob(BlobType.TREE, tree_id), tree_id.hex())
    try:
        below = [bytes.fromhex(node.subtree) for node in nodes if node.type == "dir" and node.subtree]
    except ValueError as error:
        raise Corrupt("a tree that names something by no valid id", kind="tree", object_id=tree_id.hex()) from error
    if marks[number] == _UNREADABLE:
        marks[number] = _ROOT
    for child in below:
        found = table.find(BlobType.TREE, child) if len(child) == 32 else -1
        if found >= 0:
            marks[found] = _BELOW


def _store_root(repository: Repository, roots: list[bytes]) -> str:
    """Store the folder that lists the roots; return its tree."""
    now = TimeFormatter(None).format(time.time_ns())
    owner = owner_json(os.getuid(), os.getgid(), "", "")
    names = _names(roots)
    nodes = [
        encode_dir_node(name_json(name.encode()), go_mode(0o40755), now, now, owner, 0, 0, root.hex())
        for name, root in sorted(zip(names, roots, strict=True))
    ]
    tree = encode_tree(nodes)
    with packing(repository) as (packer, packs):
        packer.add(BlobType.TREE, sha256(tree).digest(), tree)
    packs.settle()
    return sha256(tree).hexdigest()


def _names(roots: list[bytes]) -> list[str]:
    """Return the first digits of each id, as many as make them differ."""
    for digits in range(_NAME_DIGITS, 65):
        names = [root.hex()[:digits] for root in roots]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("ids are not unique")


def _snapshot(tree: str) -> Snapshot:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    return Snapshot(
        time=TimeFormatter(None).format(time.time_ns()),
        tree=tree,
        paths=["/recover"],
        hostname=socket.gethostname(),
        username=user,
        uid=os.getuid(),
        gid=os.getgid(),
        tags=["recovered"],
    )

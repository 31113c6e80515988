"""The keys of one repository, in a process of its own: ``python -m backups.session.keyring --spec-fd N``.

Tries a key without writing anything, adds one, removes one, or tells which snapshots are there.  The answer is lines of
JSON: ``step`` for each step of a trial, ``snapshot`` for each snapshot, ``done`` at the end, ``error`` instead of it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from backups.engine.blob import BlobType
from backups.engine.errors import EngineError, RepositoryMissing, WrongKey
from backups.engine.keyring import add_key, remove_key
from backups.engine.layout import LOCKS
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot
from backups.engine.times import parse_time
from backups.engine.tree import Node, decode_tree
from backups.session.events import say
from backups.session.privileges import die_with_parent
from backups.session.stores import open_store
from destinations.storage.errors import StoreError

VERSION = 1
_LARGEST_SPEC = 4 << 20
_LOCK_WAIT = 120.0
_FOLDERS_LOOKED_AT = 300
_MOST_SNAPSHOTS = 50_000
_FAILED = 1


class KeyringSpec(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to do with the keys of a repository.

    ``key`` is the one to try, to add, or to stay; ``others`` may open the repository before it is added, or are those
    to remove.  The ``stale_locks`` are of our own processes that died: they are removed first.
    """

    version: int = VERSION
    do: Literal["try", "add", "remove", "snapshots"]
    store: dict[str, Any]
    path: str
    key: str
    others: list[str] = []
    cache: str = ""
    stale_locks: list[str] = []


class Failed(Exception):
    """A step of a trial that has been told already."""


def main() -> int:
    """Do one thing and say how it went."""
    parser = argparse.ArgumentParser(prog="backups.session.keyring")
    parser.add_argument("--spec-fd", type=int, required=True)
    with os.fdopen(parser.parse_args().spec_fd, "rb") as file:
        spec = msgspec.json.decode(file.read(_LARGEST_SPEC), type=KeyringSpec)
    if spec.version != VERSION:
        raise ValueError(f"a specification of version {spec.version}; this program takes {VERSION}")
    die_with_parent()
    try:
        {"try": trial, "add": add, "remove": remove, "snapshots": tell_snapshots}[spec.do](spec)
    except Failed:
        say("done", opens=False)
    except (EngineError, StoreError) as error:
        say("error", code=error.code, message=str(error), guidance=error.guidance)
        return _FAILED
    return 0


def trial(spec: KeyringSpec) -> None:
    """Say step by step whether the key opens the repository and what it shows.  Nothing is written."""
    store = open_store(spec.store, spec.path)
    _step("Repository found", lambda: (store.get("config"), f"{spec.path}/")[1])
    opened: list[Repository] = []
    try:
        _step("Key opens it", lambda: _opened_note(opened, spec))
        snapshots: list[Snapshot] = []
        _step("Snapshots readable", lambda: _snapshots_note(opened[0], snapshots))
        _step("One file read back", lambda: _read_one(opened[0], snapshots))
        newest = max((_seconds(snapshot) for snapshot in snapshots), default=None)
        say("done", opens=True, repository=opened[0].id, snapshots=len(snapshots), newest=newest)
    finally:
        for repository in opened:
            repository.close()


def add(spec: KeyringSpec) -> None:
    """Make the key open the repository; one that does already is left alone."""
    try:
        repository = _open(spec, spec.key)
        added = False
    except WrongKey:
        repository = _open(spec, *spec.others)
        with _locked(repository, spec, exclusive=False):
            add_key(repository, spec.key, username="holdfast", hostname="holdfast")
        added = True
    say("done", opens=True, added=added, repository=repository.id)
    repository.close()


def remove(spec: KeyringSpec) -> None:
    """Remove the key files that the other keys open; the key that stays must open the repository."""
    repository = _open(spec, spec.key)
    names = []
    for other in spec.others:
        try:
            old = _open(spec, other)
        except WrongKey:
            continue
        names.append(old.key_id)
        old.close()
    if names:
        with _locked(repository, spec, exclusive=True):
            for name in names:
                remove_key(repository, name)
    say("done", opens=True, removed=len(names), repository=repository.id)
    repository.close()


def tell_snapshots(spec: KeyringSpec) -> None:
    """Say the snapshots of the repository, the newest first, with the folders at their top."""
    repository = _open(spec, spec.key, *spec.others)
    repository.load_index()
    newest_first = sorted(repository.snapshots(), key=lambda each: -each.instant)
    for snapshot in newest_first[:_MOST_SNAPSHOTS]:
        counts = snapshot.summary
        say(
            "snapshot",
            id=snapshot.id,
            original=snapshot.original or snapshot.id,
            tree=snapshot.tree,
            taken_at=_seconds(snapshot),
            hostname=snapshot.hostname,
            tags=snapshot.tags[:40],
            paths=[path[:300] for path in snapshot.paths[:8]],
            top=_top(repository, snapshot),
            files=counts.total_files_processed if counts else 0,
            size=counts.total_bytes_processed if counts else 0,
        )
    say("done", opens=True, repository=repository.id)
    repository.close()


@contextmanager
def _locked(repository: Repository, spec: KeyringSpec, *, exclusive: bool) -> Iterator[None]:
    """Hold the format's lock, and say which: whoever finds us dead can remove exactly that one."""
    for name in spec.stale_locks:
        repository.remove_object(LOCKS, name)
    with repository.locked(exclusive=exclusive, wait=_LOCK_WAIT) as lock:
        say("lock", lock=lock.id)
        yield
    if lock.is_gone:
        say("unlocked")


def _open(spec: KeyringSpec, *keys: str) -> Repository:
    store = open_store(spec.store, spec.path)
    cache = Path(spec.cache) if spec.cache else None
    for number, key in enumerate(keys, start=1):
        try:
            return Repository.open(store, key, cache_root=cache)
        except WrongKey:
            if number == len(keys):
                raise
    raise WrongKey("no key was given")


def _step(name: str, work: Callable[[], str]) -> None:
    began = time.monotonic()

    def told(state: str, note: str) -> None:
        say("step", name=name, state=state, note=note, ms=int(1000 * (time.monotonic() - began)))

    try:
        note = work()
    except RepositoryMissing as error:
        told("failed", "There is no repository at this place.")
        raise Failed from error
    except (EngineError, StoreError) as error:
        missing = name == "Repository found" and error.code == "HF-STORE-MISSING"
        told("failed", "There is no repository at this place." if missing else str(error))
        raise Failed from error
    told("success", note)


def _opened_note(opened: list[Repository], spec: KeyringSpec) -> str:
    repository = _open(spec, spec.key)
    opened.append(repository)
    return f"format {repository.version}, key {repository.key_id[:8]}"


def _snapshots_note(repository: Repository, snapshots: list[Snapshot]) -> str:
    repository.load_index()
    snapshots += repository.snapshots()
    return f"{len(snapshots):,}" if snapshots else "none yet"


def _read_one(repository: Repository, snapshots: list[Snapshot]) -> str:
    for snapshot in sorted(snapshots, key=lambda each: -each.instant)[:3]:
        for path, node in _files(repository, snapshot.tree):
            content = node.content or []
            for blob in content[:64]:
                repository.load_blob(BlobType.DATA, bytes.fromhex(str(blob)))
            return f"{os.fsdecode(path)}, {node.size:,} bytes".encode("utf-8", "replace").decode()
    return "there is no file in it"


def _files(repository: Repository, tree: str) -> Iterator[tuple[bytes, Node]]:
    waiting: list[tuple[bytes, str]] = [(b"", tree)]
    looked = 0
    while waiting and looked < _FOLDERS_LOOKED_AT:
        path, folder = waiting.pop(0)
        looked += 1
        for node in decode_tree(repository.load_tree(folder)):
            whole = path + b"/" + node.raw_name if path else node.raw_name
            if node.type == "file" and node.content:
                yield whole, node
            elif node.type == "dir" and node.subtree:
                waiting.append((whole, str(node.subtree)))


def _top(repository: Repository, snapshot: Snapshot) -> list[str]:
    try:
        nodes = decode_tree(repository.load_tree(snapshot.tree))
    except EngineError:
        return []
    names = (node.raw_name for node in nodes if node.type == "dir")
    return [name.decode("utf-8", "replace")[:60] for name in names][:40]


def _seconds(snapshot: Snapshot) -> float:
    return parse_time(snapshot.time) / 1_000_000_000


if __name__ == "__main__":
    try:
        sys.exit(main())
    except msgspec.DecodeError as error:
        sys.exit(f"the specification cannot be used: {error}")

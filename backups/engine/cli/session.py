"""What every verb of the command line needs: the repository, its lock, the console, and a way to stop."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from backups.engine.cache import default_root
from backups.engine.errors import BadRequest, Corrupt, EngineError
from backups.engine.locks import Lock
from backups.engine.output import Console, ShownProgress
from backups.engine.ports import CancelToken, Source
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot, SnapshotFilter, find_snapshot
from destinations.storage.base import ObjectStore
from destinations.storage.errors import ReadOnlyStore, StoreFull

LockKind = Literal["shared", "exclusive", "none"]


@dataclass(frozen=True, slots=True)
class Wiring:
    """The world beyond the engine, put together by ``__main__``.

    ``open_store`` takes a location; ``folder_source`` the paths and what to leave out; ``stream_source`` a file
    name and how to start the stream; the targets take what their verbs know.
    """

    open_store: Callable[[str], ObjectStore]
    folder_source: Callable[..., Source]
    stream_source: Callable[..., Source]
    folder_target: Callable[..., Any]
    archive_writer: Callable[..., Any]
    null_target: Callable[..., Any]


@dataclass(slots=True)
class Session:
    """One run of the command line."""

    args: argparse.Namespace
    console: Console
    wiring: Wiring
    cancel: CancelToken = field(default_factory=CancelToken)
    lock: Lock | None = None
    interruptible: bool = False
    """Whether Ctrl-C may break off at once: nothing is being written."""
    damaged_snapshots: list[str] = field(default_factory=list)
    """Ids of the snapshots that could not be read when they were last listed."""

    @contextmanager
    def repository(self, lock: LockKind = "shared", *, index: bool = True) -> Iterator[Repository]:
        """Open the repository, hold the lock, and load the index if it is wanted."""
        repository = self.open(self.args.repo, self.password())
        try:
            if lock == "none" or self.args.no_lock:
                if index:
                    self._load_index(repository)
                yield repository
                return
            with ExitStack() as stack:
                try:
                    held = stack.enter_context(
                        repository.locked(exclusive=lock == "exclusive", wait=self.args.retry_lock)
                    )
                except (ReadOnlyStore, StoreFull) as error:
                    raise BadRequest(f"the lock cannot be written: {error}; --no-lock does without one") from error
                self.lock = held
                if index and lock == "exclusive":
                    repository.load_index()
                elif index:
                    self._load_index(repository)
                yield repository
        finally:
            self.lock = None
            repository.close()

    def _load_index(self, repository: Repository) -> None:
        """Load the index for a verb that removes nothing: what is damaged is told, and what it named is unknown."""
        repository.close_listing()
        repository.load_index(lambda error: self.console.warn(f"index {error.object_id} is left out: {error}"))

    def snapshots(self, repository: Repository) -> list[Snapshot]:
        """Return the snapshots, oldest first; those that cannot be read are told, remembered and left out."""
        self.damaged_snapshots.clear()

        def note(error: Corrupt) -> None:
            self.damaged_snapshots.append(error.object_id)
            self.console.warn(f"snapshot {error.object_id} is left out: {error}")

        return repository.snapshots(note)

    def open(self, location: str, password: str) -> Repository:
        """Unlock a repository, without its lock."""
        return Repository.open(
            self.wiring.open_store(location), password, cache_root=self.cache_root(), key_hint=self.args.key_hint
        )

    def open_source(self) -> Repository:
        """Unlock the repository of --from-repo, without its lock; what is wrong with it says that it is that one's."""
        password = read_password(self.args.from_password_file, "HOLDFAST_FROM_PASSWORD_FILE")
        try:
            return self.open(self.args.from_repo, password)
        except EngineError as error:
            error.args = (f"the repository to copy from: {error}",)
            raise

    def cache_root(self) -> Path | None:
        """Return where caches are, or None with --no-cache."""
        if self.args.no_cache:
            return None
        return Path(self.args.cache_dir) if self.args.cache_dir else default_root()

    def password(self) -> str:
        """Return the repository's password."""
        return read_password(self.args.password_file)

    def guard(self) -> None:
        """Raise LockLost if our lock is not safe any more."""
        if self.lock is not None:
            self.lock.check()

    def progress(self, during: str) -> ShownProgress:
        """Return a progress display."""
        return ShownProgress(self.console, during)


def read_password(path: str | None, variable: str = "HOLDFAST_PASSWORD_FILE") -> str:
    """Return the first line of a password file.

    Without a path the variable names the file; failing that ``RESTIC_PASSWORD_FILE``.  Raises BadRequest.
    """
    name = path or os.environ.get(variable) or os.environ.get("RESTIC_PASSWORD_FILE")
    if not name:
        raise BadRequest("no password: give --password-file FILE")
    try:
        raw = sys.stdin.buffer.readline() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise BadRequest(f"the password file {name} cannot be read: {error.strerror}") from error
    text = raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    password = text.splitlines()[0].strip() if text.strip() else ""
    if not password:
        raise BadRequest(f"the password file {name} is empty")
    return password


def filter_from(args: argparse.Namespace) -> SnapshotFilter:
    """Return the snapshot filter of --host, --path and --tag."""
    return SnapshotFilter(
        hosts=args.host or (),
        paths=[os.path.abspath(path) for path in args.path or ()],  # noqa: PTH100 - by its text alone
        tags=[tuple(part.strip() for part in tag.split(",")) for tag in args.tag or ()],
    )


def choose_snapshot(session: Session, repository: Repository, wanted: str) -> tuple[Snapshot, str]:
    """Return the snapshot ``wanted`` names and the folder after its colon."""
    matching = filter_from(session.args) if hasattr(session.args, "path") else SnapshotFilter()
    return find_snapshot(session.snapshots(repository), wanted, matching)


def choose_snapshots(session: Session, repository: Repository, ids: Sequence[str]) -> list[Snapshot]:
    """Return the snapshots named by ids (or latest), or all that the filter matches, oldest first."""
    snapshots = session.snapshots(repository)
    matching = filter_from(session.args)
    if ids:
        return [find_snapshot(snapshots, wanted, matching)[0] for wanted in dict.fromkeys(ids)]
    return [snapshot for snapshot in snapshots if matching.matches(snapshot)]

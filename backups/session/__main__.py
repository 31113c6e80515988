"""The session process itself.

Commands come as lines on standard input, events leave as lines on standard output.  The end of standard input means
stop: a worker that was killed leaves no engine behind.
"""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from backups.engine.errors import Canceled, EngineError, RepositoryMissing, WrongKey
from backups.engine.keyring import add_key
from backups.engine.locks import Lock
from backups.engine.ports import CancelToken
from backups.engine.repository import Repository
from backups.session.events import say
from backups.session.limits import be_modest
from backups.session.locking import Waiting, lock_of
from backups.session.privileges import die_with_parent
from backups.session.spec import (
    About,
    Archive,
    Backup,
    Cancel,
    Command,
    Inspect,
    List,
    Read,
    Restore,
    Search,
    SessionSpec,
    Sweep,
    Versions,
    decode_command,
    decode_spec,
)
from backups.session.stores import open_store, say_room, stop_waiting, tell_traffic, tell_traffic_if_due
from destinations.storage.errors import StoreError

if TYPE_CHECKING:
    from backups.session.browse import Browser

_LARGEST_SPEC = 4 << 20
_FAILED = 1


def main() -> int:
    """Run one session."""
    parser = argparse.ArgumentParser(prog="backups.session")
    parser.add_argument("--spec-fd", type=int, required=True)
    with os.fdopen(parser.parse_args().spec_fd, "rb") as file:
        spec = decode_spec(file.read(_LARGEST_SPEC))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    be_modest(spec.nice, spec.group, spec.memory)
    try:
        with _repository(spec) as (repository, lock):
            say("ready", repository=repository.id)
            if spec.lock:
                say_room(repository.store)
            Session(repository, lock).serve()
    except Waiting:
        return 0
    except (EngineError, StoreError) as error:
        say_error(0, error)
        return _FAILED
    except MemoryError:
        say_no_memory(0)
        return _FAILED
    return 0


class Session:
    """An open repository and the children that work on it."""

    def __init__(self, repository: Repository, lock: Lock | None) -> None:
        self._repository = repository
        self._lock = lock
        self._lock_id = ""
        self._children: dict[int, int] = {}
        self._writing: set[int] = set()
        self._outdated = False
        self._buffer = b""
        self._open = True

    def serve(self) -> None:
        """Take commands until there are no more, then end the children."""
        selector = selectors.DefaultSelector()
        os.set_blocking(0, False)
        selector.register(0, selectors.EVENT_READ)
        try:
            while self._open:
                if selector.select(0.2):
                    for command in self._commands():
                        self._take(command)
                self._reap()
                self._watch_lock()
                tell_traffic_if_due()
        finally:
            for pid in self._children:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in self._children:
                os.waitpid(pid, 0)

    def _watch_lock(self) -> None:
        if self._lock is None:
            return
        self._lock.check()
        if self._lock.id != self._lock_id:
            self._lock_id = self._lock.id
            say("lock", lock=self._lock_id)

    def _commands(self) -> Iterator[Command]:
        data = os.read(0, 1 << 20)
        if not data:
            self._open = False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            yield decode_command(line)

    def _take(self, command: Command) -> None:
        # Each import is made when its command comes first: a session needs one or two of them, and all take long.
        if isinstance(command, Backup):
            from backups.session.items import run_backup

            self._writing.add(command.item)
            self._work(command.item, lambda cancel: run_backup(self._repository, command, cancel))
        elif isinstance(command, Restore):
            from backups.session.putting import run_restore

            self._work(command.item, lambda cancel: run_restore(self._repository, command, cancel))
        elif isinstance(command, Sweep):
            from backups.session.upkeep import run_sweep

            self._work(command.item, lambda cancel: run_sweep(self._repository, command, cancel))
        elif isinstance(command, Inspect):
            from backups.session.upkeep import run_inspect

            self._work(command.item, lambda cancel: run_inspect(self._repository, command, cancel))
        elif isinstance(command, About):
            from backups.session.about import run_about

            self._work(command.item, lambda _: run_about(self._repository, command))
        elif isinstance(command, Archive):
            from backups.session.archiving import run_archive

            self._work(command.item, lambda cancel: run_archive(self._repository, command, cancel))
        elif isinstance(command, Search | Versions):
            browser = self._browser
            answer = browser.search if isinstance(command, Search) else browser.versions
            self._fork(command.item, lambda _: _said(answer, command))
        elif isinstance(command, Cancel):
            for pid, item in self._children.items():
                if item == command.item:
                    os.kill(pid, signal.SIGTERM)
        else:
            self._answer(command)

    def _work(self, item: int, work: Callable[[CancelToken], int]) -> None:
        """Fork a child with an index of now: others write and prune while no lock is held, own children write too."""
        try:
            if self._lock is None:
                self._repository.refresh_index()
            elif self._outdated:
                self._repository.load_index()
                self._outdated = False
        except (EngineError, StoreError) as error:
            say_error(item, error)
            say("ended", item, status=_FAILED)
        else:
            self._fork(item, work)

    @cached_property
    def _browser(self) -> Browser:
        from backups.session.browse import Browser

        return Browser(self._repository)

    def _answer(self, command: List | Read) -> None:
        try:
            if isinstance(command, List):
                self._browser.listing(command)
            else:
                self._browser.read(command)
            return
        except (EngineError, StoreError, ValueError) as error:
            say_error(command.item, error)
            return
        except MemoryError:
            pass
        say_no_memory(command.item)  # only here what took the memory is let go

    def _fork(self, item: int, work: Callable[[CancelToken], int]) -> None:
        sys.stdout.flush()
        # A cancel that comes before the child listens must not kill it: it would end without a word.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            self._children[pid] = item
            return
        os._exit(_child(item, work))

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            item = self._children.pop(pid, 0)
            if item:
                if item in self._writing:
                    self._writing.discard(item)
                    self._outdated = True
                code = os.waitstatus_to_exitcode(status)
                tell_traffic()
                say("ended", item, status=code)


def _said(answer: Callable[[Any], None], command: Search | Versions) -> int:
    answer(command)
    return 0


def _child(item: int, work: Callable[[CancelToken], int]) -> int:
    die_with_parent()
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    cancel = CancelToken()
    signal.signal(signal.SIGTERM, lambda *_: (cancel.cancel(), stop_waiting()))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        return work(cancel)
    except (EngineError, StoreError, OSError) as error:
        say_error(item, error)
        return _FAILED
    except MemoryError:
        pass
    except Exception:  # noqa: BLE001 - a child ends by its exit status, and says why
        say("error", item, code="HF-ENGINE-FAILED", message=traceback.format_exc()[-1400:], guidance="")
        return _FAILED
    say_no_memory(item)  # only here what took the memory is let go
    return _FAILED


def say_no_memory(item: int) -> None:
    """Say that an item, or the session itself (item 0), came to the end of the memory it may take."""
    text = "this needs more memory than it may take"
    say("error", item, code="HF-MEMORY", message=text, guidance="Choose less at one time; check the repository.")


def say_error(item: int, error: Exception) -> None:
    """Say what stopped an item, or the session itself (item 0)."""
    code = getattr(error, "code", "HF-OS")
    guidance = getattr(error, "guidance", "See the named path: space, rights, or something in the way.")
    message = "Stopped on request." if isinstance(error, Canceled) else str(error)
    say("error", item, code=code, message=message, guidance=guidance)


@contextmanager
def _repository(spec: SessionSpec) -> Iterator[tuple[Repository, Lock | None]]:
    repository = _opened(spec)
    try:
        if not spec.lock:
            repository.load_index()
            yield repository, None
            return
        with lock_of(repository, exclusive=spec.exclusive, stale=spec.stale_locks) as lock:
            repository.load_index()
            yield repository, lock
    finally:
        repository.close()


def _opened(spec: SessionSpec) -> Repository:
    repository = _found(spec)
    if spec.expect and repository.id != spec.expect:
        repository.close()
        raise RepositoryMissing("another repository lies there than the one of the backups before")
    return repository


def _found(spec: SessionSpec) -> Repository:
    store = open_store(spec.store, spec.path, spec.shared)
    cache = Path(spec.cache) if spec.cache else None
    first, *others = spec.keys
    try:
        return Repository.open(store, first, cache_root=cache)
    except RepositoryMissing:
        if spec.expect:
            text = "the repository of the backups before is not there any more: is the right disk or folder in place?"
            raise RepositoryMissing(text) from None
        if not spec.create:
            raise
        repository = Repository.create(store, spec.keys[-1], cache_root=cache)
        if others:
            add_key(repository, first)
        return repository
    except WrongKey:
        for other in others:
            with suppress(WrongKey):
                repository = Repository.open(store, other, cache_root=cache)
                if spec.create:
                    add_key(repository, first)
                return repository
        raise


if __name__ == "__main__":
    try:
        sys.exit(main())
    except msgspec.DecodeError as error:
        sys.exit(f"the specification cannot be used: {error}")

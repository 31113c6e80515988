"""The repository's lock objects: who works in it, honoured by every program of this format.

Staleness never lets an operation pass by itself; only :func:`unlock` removes what is stale.  A holder
that could not refresh its lock for 22.5 minutes must stop writing.
"""

from __future__ import annotations

import getpass
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn, Protocol

import msgspec

from backups.engine.errors import Corrupt, EngineError, Locked, LockLost
from backups.engine.layout import LOCKS, Kind
from backups.engine.times import TimeFormatter, parse_time
from destinations.storage.errors import ObjectMissing, StoreError

REFRESH_SECONDS = 5 * 60
STALE_SECONDS = 30 * 60
LOST_SECONDS = STALE_SECONDS - 1.5 * REFRESH_SECONDS
SETTLE_SECONDS = 0.2
UNREADABLE_WAITS = (5.0, 10.0, 20.0)


class LockFile(msgspec.Struct, omit_defaults=True):
    """The JSON of a lock, in the format's field order."""

    time: str
    exclusive: bool = msgspec.field(default=False)
    hostname: str = ""
    username: str = ""
    pid: int = 0
    uid: int = 0
    gid: int = 0

    def encoded(self) -> bytes:
        """Return compact JSON; uid and gid are left out when zero, the rest never."""
        fields: dict[str, object] = {
            "time": self.time,
            "exclusive": self.exclusive,
            "hostname": self.hostname,
            "username": self.username,
            "pid": self.pid,
        }
        fields |= {name: value for name, value in (("uid", self.uid), ("gid", self.gid)) if value}
        return msgspec.json.encode(fields)

    def age(self, now: float) -> float:
        """Return seconds since the lock was written or refreshed."""
        return now - parse_time(self.time) / 1e9

    def is_stale(self, now: float, hostname: str) -> bool:
        """Tell whether the holder is gone: too old, or a process of this host that does not exist."""
        return self.age(now) > STALE_SECONDS or (self.hostname == hostname and not _alive(self.pid))

    def __str__(self) -> str:
        kind = "exclusive" if self.exclusive else "shared"
        return f"{kind} lock of {self.username}@{self.hostname} (pid {self.pid}), set {self.time}"


class LockStore(Protocol):
    """What locks need of a repository."""

    @property
    def lists_at_once(self) -> bool: ...

    def ids(self, kind: Kind) -> dict[str, int]: ...
    def load_object(self, kind: Kind, object_id: str) -> bytes: ...
    def save_object(self, kind: Kind, payload: bytes) -> str: ...
    def remove_object(self, kind: Kind, object_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class LockTimes:
    """The clock and the waits, so that tests need none.  Seconds."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    refresh: float = REFRESH_SECONDS
    settle: float = SETTLE_SECONDS
    unreadable: tuple[float, ...] = UNREADABLE_WAITS


def decode_lock(payload: bytes) -> LockFile:
    """Decode the JSON of a lock; Corrupt if it is none."""
    try:
        lock = msgspec.json.decode(payload, type=LockFile)
        parse_time(lock.time)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Corrupt) as error:
        raise Corrupt("a lock that is not the JSON of one", kind="lock") from error
    return lock


def list_locks(repository: LockStore) -> list[tuple[str, LockFile | None]]:
    """Return (id, lock) of every lock object; None for one that cannot be read.  Empty files are left out."""
    found: list[tuple[str, LockFile | None]] = []
    for name, size in repository.ids(LOCKS).items():
        if not size:
            continue
        try:
            found.append((name, decode_lock(repository.load_object(LOCKS, name))))
        except ObjectMissing:
            continue
        except (Corrupt, StoreError):
            found.append((name, None))
    return found


def unlock(repository: LockStore, *, remove_all: bool = False, now: float | None = None) -> list[str]:
    """Remove stale locks (or all); return the ids removed.  Unreadable ones go only with ``remove_all``."""
    moment = time.time() if now is None else now
    host = os.uname().nodename
    removed = [
        name
        for name, lock in list_locks(repository)
        if remove_all or (lock is not None and lock.is_stale(moment, host))
    ]
    if remove_all:
        removed = list(repository.ids(LOCKS))
    for name in removed:
        repository.remove_object(LOCKS, name)
    return removed


class Lock:
    """A held lock.  ``check`` raises LockLost once it could not be refreshed for too long."""

    def __init__(self, repository: LockStore, *, exclusive: bool, times: LockTimes = LockTimes()) -> None:
        self.exclusive = exclusive
        self.id = ""
        self._repository = repository
        self._times = times
        self._refreshed = times.now()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        self._lost = ""
        self._replaced: list[str] = []
        """Older objects of ours that could not be removed yet."""

    def acquire(self) -> None:
        """Write our lock unless another excludes it; Locked if one does."""
        self._refuse_conflicts()
        self._write()
        try:
            if not self._repository.lists_at_once:
                self._times.sleep(self._times.settle)
            self._refuse_conflicts()
        except BaseException:
            self.release()
            raise

    def _refuse_conflicts(self) -> None:
        for wait in (*self._times.unreadable, None):
            unreadable = ""
            for name, lock in list_locks(self._repository):
                if name == self.id:
                    continue
                if lock is None:
                    unreadable = name
                elif self.exclusive or lock.exclusive:
                    raise Locked(f"the repository is locked: {lock}")
            if not unreadable:
                return
            if wait is not None:
                self._times.sleep(wait)
        raise Locked(f"lock {unreadable} cannot be read; remove it with unlock --remove-all if nothing is running")

    def _write(self) -> None:
        moment = self._times.now()
        file = LockFile(
            time=TimeFormatter(None).format(int(moment * 1e9)),
            exclusive=self.exclusive,
            hostname=os.uname().nodename,
            username=_user(),
            pid=os.getpid(),
            uid=os.getuid(),
            gid=os.getgid(),
        )
        self.id = self._repository.save_object(LOCKS, file.encoded())
        self._refreshed = moment

    def refresh(self) -> None:
        """Replace our lock object by one with the present time.

        Once the last success is older than 22.5 minutes our object must still be there; otherwise LockLost.
        """
        with self._guard:
            if self._lost or not self.id:
                raise LockLost(self._lost or "our lock was released")
            old = self.id
            late = self._times.now() - self._refreshed > LOST_SECONDS
            if late and old not in self._repository.ids(LOCKS):
                self._lose("our lock was not refreshed in time and somebody removed it")
            self._write()
            self._replaced.append(old)
            if late:
                self._times.sleep(self._times.settle)
                if old not in self._repository.ids(LOCKS):
                    self._lose("our lock was removed while it was being refreshed")
            self._remove_replaced()

    def _lose(self, message: str) -> NoReturn:
        """Remember it: the thread that refreshes has nobody to tell, and must not pass for success later."""
        self._lost = message
        raise LockLost(message)

    def _remove_replaced(self) -> None:
        failure: StoreError | None = None
        for name in tuple(self._replaced):
            try:
                self._repository.remove_object(LOCKS, name)
            except StoreError as error:
                failure = error
            else:
                self._replaced.remove(name)
        if failure is not None:
            raise failure

    @property
    def is_gone(self) -> bool:
        """Whether none of its objects is left in the repository, after :meth:`release`."""
        return not self.id and not self._replaced

    def check(self) -> None:
        """Raise LockLost if writing on would not be safe."""
        if self._lost:
            raise LockLost(self._lost)
        if self._times.now() - self._refreshed > LOST_SECONDS:
            try:
                self.refresh()
            except StoreError as error:
                raise LockLost(f"our lock could not be refreshed for 22 minutes: {error}") from error

    def keep_fresh(self) -> None:
        """Start a thread that refreshes the lock until it is released."""
        self._thread = threading.Thread(target=self._run, name="lock-refresh", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._times.refresh):
            try:
                self.refresh()
            except (StoreError, EngineError):
                continue

    def release(self) -> None:
        """Remove our lock object; twice is fine."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=30)
        with self._guard:
            if self.id:
                self._replaced.append(self.id)
                self.id = ""
            self._remove_replaced()


@contextmanager
def held(
    repository: LockStore,
    *,
    exclusive: bool,
    wait: float = 0.0,
    times: LockTimes = LockTimes(),
) -> Iterator[Lock]:
    """Hold a lock for the length of a ``with`` block.

    ``wait`` is how many seconds to try again while somebody else's lock excludes ours; Locked after that.
    SIGHUP is ignored meanwhile: stock programs probe a holder with a real one.
    """
    previous = None
    if threading.current_thread() is threading.main_thread():
        previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        lock = _acquire(repository, exclusive, wait, times)
        try:
            lock.keep_fresh()
            yield lock
        finally:
            try:
                lock.release()
            except StoreError:
                # The lock stays behind and goes stale; the work itself is done and must not be reported as failed.
                pass
    finally:
        if previous is not None:
            signal.signal(signal.SIGHUP, previous)


def _acquire(repository: LockStore, exclusive: bool, wait: float, times: LockTimes) -> Lock:
    deadline = times.now() + wait
    pause = min(5.0, wait)
    while True:
        lock = Lock(repository, exclusive=exclusive, times=times)
        try:
            lock.acquire()
        except Locked:
            left = deadline - times.now()
            if left <= 0:
                raise
            times.sleep(min(pause, left))
            pause = min(pause * 2, 60.0)
        else:
            return lock


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except OverflowError:  # no process has such a number
        return False
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())

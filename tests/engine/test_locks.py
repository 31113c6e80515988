"""Locks: who excludes whom, what keeps them fresh, when a holder must stop, and what counts as left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backups.engine import locks
from backups.engine.errors import Corrupt, Locked, LockLost
from backups.engine.layout import LOCKS, object_key
from backups.engine.locks import (
    LOST_SECONDS,
    STALE_SECONDS,
    Lock,
    LockFile,
    LockTimes,
    decode_lock,
    held,
    list_locks,
    unlock,
)
from backups.engine.repository import Repository
from backups.engine.times import parse_time
from destinations.storage.errors import StoreError
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import local, new_repository
from tests.engine.running import in_child
from tests.fakes.clock import HandClock
from tests.fakes.faulty_store import CountingStore, FailingStore, LaggyStore

START = 1_700_000_000.0


@pytest.fixture
def objects() -> dict[str, bytes]:
    return {}


@pytest.fixture
def repository(objects: dict[str, bytes]) -> Repository:
    return new_repository(MemoryStore(objects))


@pytest.fixture
def clock() -> HandClock:
    return HandClock(START)


@pytest.fixture
def times(clock: HandClock) -> LockTimes:
    """Times of a clock moved by hand: sleeping costs nothing."""
    return LockTimes(now=clock, sleep=clock.sleep)


def stored(objects: dict[str, bytes]) -> list[str]:
    return [key for key in objects if key.startswith(LOCKS)]


def write_lock(repository: Repository, *, exclusive: bool = False, **changed: object) -> str:
    """Store a stranger's lock."""
    fields: dict[str, object] = {
        "time": datetime.fromtimestamp(START, UTC).isoformat(),
        "exclusive": exclusive,
        "hostname": "elsewhere",
        "username": "stranger",
        "pid": 4711,
    }
    return repository.save_object(LOCKS, json.dumps(fields | changed).encode())


# ---------------------------------------------------------------------- the object


def test_a_lock_says_who_holds_it(repository: Repository, times: LockTimes) -> None:
    with held(repository, exclusive=True, times=times) as lock:
        fields = json.loads(repository.load_object(LOCKS, lock.id))
        assert list(fields)[:5] == ["time", "exclusive", "hostname", "username", "pid"]
        assert fields["exclusive"] is True
        assert fields["hostname"] == socket.gethostname()
        assert fields["pid"] == os.getpid()
        assert parse_time(fields["time"]) == int(START * 1e9)
        assert fields.get("uid", 0) == os.getuid()


def test_owner_numbers_are_left_out_when_zero() -> None:
    root = LockFile(time="2024-01-01T00:00:00Z", pid=1)
    assert json.loads(root.encoded()) == {
        "time": "2024-01-01T00:00:00Z",
        "exclusive": False,
        "hostname": "",
        "username": "",
        "pid": 1,
    }
    other = LockFile(time="2024-01-01T00:00:00Z", uid=5, gid=6)
    assert json.loads(other.encoded())["uid"] == 5
    assert decode_lock(other.encoded()) == other


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b'{"time":5}',
        b'{"time":"yesterday"}',
        b"[" * 10_000,
        b'{"time":"2024-01-01T00:00:00Z","pid":"x"}',
    ],
)
def test_what_is_no_lock_is_damage(payload: bytes) -> None:
    with pytest.raises(Corrupt):
        decode_lock(payload)


# ---------------------------------------------------------------------- conflicts


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [(False, False, False), (False, True, True), (True, False, True), (True, True, True)],
)
def test_only_shared_locks_go_together(
    repository: Repository, objects: dict[str, bytes], times: LockTimes, first: bool, second: bool, refused: bool
) -> None:
    with held(repository, exclusive=first, times=times):
        if refused:
            with pytest.raises(Locked), held(repository, exclusive=second, times=times):
                pytest.fail("both were held")
        else:
            with held(repository, exclusive=second, times=times):
                assert len(stored(objects)) == 2
        assert len(stored(objects)) == 1
    assert stored(objects) == []


def test_the_refusal_names_the_holder(repository: Repository, times: LockTimes) -> None:
    write_lock(repository, exclusive=True)
    with pytest.raises(Locked, match=r"stranger@elsewhere.*4711"):
        Lock(repository, exclusive=False, times=times).acquire()


def test_the_oldest_lock_still_blocks(repository: Repository, times: LockTimes) -> None:
    """Only unlock decides that somebody is gone."""
    write_lock(repository, exclusive=True, time="1999-01-01T00:00:00Z")
    with pytest.raises(Locked):
        Lock(repository, exclusive=False, times=times).acquire()


def test_of_two_that_begin_at_once_one_gives_way(
    repository: Repository, objects: dict[str, bytes], clock: HandClock
) -> None:
    """A stranger's lock that shows only after ours was written."""

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        write_lock(repository, exclusive=True)

    lock = Lock(repository, exclusive=False, times=LockTimes(now=clock, sleep=sleep))
    with pytest.raises(Locked):
        lock.acquire()
    assert len(stored(objects)) == 1
    assert lock.id == ""


def test_a_storage_that_lists_late_is_waited_for(objects: dict[str, bytes], clock: HandClock, times: LockTimes) -> None:
    new_repository(MemoryStore(objects))
    repository = Repository.open(LaggyStore(MemoryStore(objects), requests=0), "correct horse")
    Lock(repository, exclusive=True, times=times).acquire()
    assert clock.slept == [0.2]


def test_empty_lock_files_are_left_overs(repository: Repository, objects: dict[str, bytes], times: LockTimes) -> None:
    objects[object_key(LOCKS, "ab" * 32)] = b""
    Lock(repository, exclusive=True, times=times).acquire()


def test_foreign_names_in_the_folder_are_no_locks(
    repository: Repository, objects: dict[str, bytes], times: LockTimes
) -> None:
    objects["locks/readme"] = b"hello"
    Lock(repository, exclusive=True, times=times).acquire()


@pytest.mark.parametrize("content", [b"garbage" * 20, b"x"])
def test_an_unreadable_lock_blocks_after_three_more_looks(
    repository: Repository, objects: dict[str, bytes], clock: HandClock, times: LockTimes, content: bytes
) -> None:
    objects[object_key(LOCKS, "ab" * 32)] = content
    with pytest.raises(Locked, match="ab" * 32):
        Lock(repository, exclusive=False, times=times).acquire()
    assert clock.slept == [5.0, 10.0, 20.0]


def test_a_lock_that_goes_while_it_is_looked_at_is_gone(repository: Repository, times: LockTimes) -> None:
    name = write_lock(repository, exclusive=True)

    class Vanishing(CountingStore):
        def list(self, prefix: str):  # type: ignore[no-untyped-def]
            found = list(super().list(prefix))
            if prefix == LOCKS:
                repository.remove_object(LOCKS, name)
            return iter(found)

    other = Repository.open(Vanishing(repository.store), "correct horse")
    Lock(other, exclusive=True, times=times).acquire()


def test_waiting_ends_when_the_other_is_done(repository: Repository, clock: HandClock) -> None:
    name = write_lock(repository, exclusive=True)

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now >= START + 60:
            repository.remove_object(LOCKS, name)

    with held(repository, exclusive=True, wait=600, times=LockTimes(now=clock, sleep=sleep)):
        assert 60 <= clock.now - START < 200
    assert [pause for pause in clock.slept if pause >= 1] == [5.0, 10.0, 20.0, 40.0]


def test_waiting_has_an_end(repository: Repository, clock: HandClock, times: LockTimes) -> None:
    write_lock(repository, exclusive=True)
    with pytest.raises(Locked), held(repository, exclusive=False, wait=100, times=times):
        pytest.fail("it was held")
    assert clock.now - START == pytest.approx(100, abs=1)


# ---------------------------------------------------------------------- keeping it


def test_refreshing_replaces_the_object(
    repository: Repository, objects: dict[str, bytes], clock: HandClock, times: LockTimes
) -> None:
    with held(repository, exclusive=False, times=times) as lock:
        before = lock.id
        clock.now += 300
        lock.refresh()
        assert [key.rsplit("/", 1)[-1] for key in stored(objects)] == [lock.id] != [before]
        (found,) = list_locks(repository)
        assert found[1] is not None
        assert found[1].age(clock.now) == 0
    assert stored(objects) == []


def test_the_new_object_is_there_before_the_old_one_goes(objects: dict[str, bytes], times: LockTimes) -> None:
    new_repository(MemoryStore(objects))
    store = CountingStore(MemoryStore(objects))
    repository = Repository.open(store, "correct horse")
    with held(repository, exclusive=False, times=times) as lock:
        store.log.clear()
        lock.refresh()
        verbs = [verb for verb, _ in store.log]
        assert verbs.index("put") < verbs.index("delete") == len(verbs) - 1


def test_a_thread_keeps_it_fresh(repository: Repository, objects: dict[str, bytes]) -> None:
    with held(repository, exclusive=False, times=LockTimes(refresh=0.01, settle=0)) as lock:
        first = lock.id
        end = time.monotonic() + 20
        while lock.id == first and time.monotonic() < end:
            time.sleep(0.005)
        assert lock.id != first
    assert stored(objects) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "lock-refresh"]


def test_a_holder_is_safe_for_22_and_a_half_minutes(repository: Repository, clock: HandClock, times: LockTimes) -> None:
    assert LOST_SECONDS == 22.5 * 60
    with held(repository, exclusive=False, times=times) as lock:
        before = lock.id
        clock.now = START + LOST_SECONDS
        lock.check()
        assert lock.id == before


def test_a_late_holder_takes_one_more_chance(repository: Repository, clock: HandClock, times: LockTimes) -> None:
    with held(repository, exclusive=False, times=times) as lock:
        before = lock.id
        clock.now += LOST_SECONDS + 1
        clock.slept.clear()
        lock.check()
        assert lock.id != before
        assert clock.slept == [0.2]
        lock.check()


def test_a_late_holder_whose_lock_was_removed_must_stop(
    repository: Repository, clock: HandClock, times: LockTimes
) -> None:
    with held(repository, exclusive=False, times=times) as lock:
        repository.remove_object(LOCKS, lock.id)
        clock.now += LOST_SECONDS + 1
        for _ in range(2):
            with pytest.raises(LockLost):
                lock.check()


def test_a_lock_removed_during_the_late_refresh_is_lost_for_good(
    repository: Repository, objects: dict[str, bytes], clock: HandClock
) -> None:
    """Whoever finds it out, the thread or the work: the work must not go on."""

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now > START + LOST_SECONDS:
            for key in stored(objects):
                if not key.endswith(lock.id):
                    del objects[key]

    with held(repository, exclusive=False, times=LockTimes(now=clock, sleep=sleep)) as lock:
        clock.now += LOST_SECONDS + 1
        with pytest.raises(LockLost):
            lock.refresh()
        with pytest.raises(LockLost):
            lock.check()
        with pytest.raises(LockLost):
            lock.refresh()
    assert stored(objects) == []


def test_a_late_holder_that_cannot_reach_the_storage_must_stop(
    objects: dict[str, bytes], clock: HandClock, times: LockTimes
) -> None:
    new_repository(MemoryStore(objects))
    store = FailingStore(MemoryStore(objects), chance=0.0)
    repository = Repository.open(store, "correct horse")
    with held(repository, exclusive=False, times=times) as lock:
        store._from = 0
        clock.now += LOST_SECONDS + 1
        with pytest.raises(LockLost):
            lock.check()


def test_a_replaced_object_that_could_not_be_removed_goes_later(objects: dict[str, bytes], times: LockTimes) -> None:
    """Left alone it would keep everybody out until a person looks."""
    new_repository(MemoryStore(objects))
    store = FailingStore(MemoryStore(objects), verbs={"delete"}, at=[1, 2, 3])
    repository = Repository.open(store, "correct horse")
    with held(repository, exclusive=False, times=times) as lock:
        for _ in range(2):
            with pytest.raises(StoreError):
                lock.refresh()
        assert len(stored(objects)) == 3
        lock.check()
        lock.refresh()
        assert len(stored(objects)) == 1
    assert stored(objects) == []


def test_a_lock_that_cannot_be_released_does_not_fail_the_work(objects: dict[str, bytes], times: LockTimes) -> None:
    new_repository(MemoryStore(objects))
    repository = Repository.open(FailingStore(MemoryStore(objects), verbs={"delete"}, from_request=1), "correct horse")
    with held(repository, exclusive=False, times=times):
        pass
    assert len(stored(objects)) == 1


def test_a_released_lock_is_never_written_again(
    repository: Repository, objects: dict[str, bytes], times: LockTimes
) -> None:
    lock = Lock(repository, exclusive=False, times=times)
    lock.acquire()
    lock.release()
    with pytest.raises(LockLost):
        lock.refresh()
    lock.release()
    assert stored(objects) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_the_lock_goes_however_the_work_ends(
    repository: Repository, objects: dict[str, bytes], times: LockTimes, error: type[BaseException]
) -> None:
    with pytest.raises(error), held(repository, exclusive=True, times=times):
        raise error
    assert stored(objects) == []


def test_sighup_is_ignored_from_before_the_lock_shows_until_it_is_gone(
    objects: dict[str, bytes], times: LockTimes
) -> None:
    """Stock programs send one to the holder, to see whether it is alive."""
    new_repository(MemoryStore(objects))
    seen: list[tuple[str, object]] = []

    class Watching(CountingStore):
        def _call(self, verb, key, call):  # type: ignore[no-untyped-def]
            if key.startswith(LOCKS):
                seen.append((verb, signal.getsignal(signal.SIGHUP)))
            return super()._call(verb, key, call)

    repository = Repository.open(Watching(MemoryStore(objects)), "correct horse")
    before = signal.getsignal(signal.SIGHUP)
    with held(repository, exclusive=False, times=times):
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == before
    assert {verb for verb, _ in seen} >= {"put", "delete"}
    assert {handler for verb, handler in seen if verb in ("put", "delete")} == {signal.SIG_IGN}


def test_outside_the_main_thread_signals_are_left_alone(repository: Repository, times: LockTimes) -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with held(repository, exclusive=False, times=times):
                pass
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failed == []


# ---------------------------------------------------------------------- stale ones


def _dead_pid() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


HERE = socket.gethostname()


@pytest.mark.parametrize(
    ("name", "changed", "stale"),
    [
        ("young and elsewhere", {}, False),
        ("half an hour old, elsewhere", {"time": START - STALE_SECONDS}, False),
        ("older than half an hour", {"time": START - STALE_SECONDS - 1}, True),
        ("here and alive", {"hostname": HERE, "pid": os.getpid()}, False),
        ("here, alive and old", {"hostname": HERE, "pid": os.getpid(), "time": START - STALE_SECONDS - 1}, True),
        ("here and dead", {"hostname": HERE, "pid": -2}, True),
        ("elsewhere with a number that is dead here", {"pid": -2}, False),
        ("of another user, alive", {"hostname": HERE, "pid": 1}, False),
        ("without a number", {"hostname": HERE, "pid": 0}, True),
        ("with a number no process can have", {"hostname": HERE, "pid": 10**30}, True),
        ("from the future", {"time": START + 10**6}, False),
    ],
)
def test_what_unlock_removes(repository: Repository, name: str, changed: dict[str, object], stale: bool) -> None:
    if isinstance(changed.get("time"), float):
        moment = float(str(changed["time"]))
        changed = changed | {"time": datetime.fromtimestamp(moment, UTC).isoformat()}
    if changed.get("pid") == -2:
        changed = changed | {"pid": _dead_pid()}
    lock = write_lock(repository, **changed)  # type: ignore[arg-type]
    assert unlock(repository, now=START) == ([lock] if stale else []), name
    assert bool(repository.ids(LOCKS)) != stale


def test_unlock_sends_no_signal_that_could_end_a_process(repository: Repository) -> None:
    def work() -> str:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        write_lock(repository, hostname=HERE, pid=os.getpid())
        unlock(repository, now=START)
        return "alive"

    assert in_child(work) == "alive"


def test_unreadable_locks_go_only_when_everything_may(repository: Repository, objects: dict[str, bytes]) -> None:
    objects[object_key(LOCKS, "ab" * 32)] = b"garbage" * 20
    objects[object_key(LOCKS, "cd" * 32)] = b""
    living = write_lock(repository)
    assert unlock(repository, now=START) == []
    assert set(unlock(repository, remove_all=True, now=START)) == {"ab" * 32, "cd" * 32, living}
    assert stored(objects) == []


def test_a_killed_holder_is_stale_at_once(tmp_path: Path) -> None:
    repository = new_repository(local(tmp_path / "repository"))
    ready, waiting = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with held(repository, exclusive=True):
                os.write(waiting, b"x")
                time.sleep(60)
        finally:
            os._exit(1)
    os.read(ready, 1)
    assert unlock(repository) == []
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(ready)
    os.close(waiting)
    assert len(unlock(repository)) == 1


def test_many_at_once_never_hold_exclusively_together(tmp_path: Path) -> None:
    repository = new_repository(local(tmp_path / "repository"))
    inside = tmp_path / "inside"

    def contend() -> int:
        entered = 0
        for _ in range(6):
            try:
                with held(repository, exclusive=True):
                    inside.mkdir()
                    entered += 1
                    inside.rmdir()
            except Locked:
                continue
        return entered

    counts = _in_children(contend, 3)
    assert sum(counts) >= 1
    assert not repository.ids(LOCKS)


def _in_children(work: Callable[[], int], count: int) -> list[int]:
    """Do the work in several children at once."""
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(in_child(work))) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == count
    return results


def test_the_times_of_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (locks.REFRESH_SECONDS, locks.STALE_SECONDS, locks.SETTLE_SECONDS) == (300, 1800, 0.2)
    assert locks.UNREADABLE_WAITS == (5.0, 10.0, 20.0)

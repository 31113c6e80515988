"""What each wrapper adds to the store it is put around."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.storage import (
    AccessDenied,
    BadConfig,
    HashesServerSide,
    ObjectInfo,
    ObjectMissing,
    ObjectStore,
    PreparesFolders,
    ReadOnlyStore,
    ReportsCapacity,
    ShortRead,
    StoreGone,
    StoreUnreachable,
)
from destinations.storage.local import LocalStore
from destinations.storage.memory import MemoryStore
from destinations.storage.wrappers import (
    BandwidthStore,
    LimitedStore,
    MeteredStore,
    PrefixedStore,
    RetryingStore,
    WriteProtectedStore,
)
from destinations.storage.wrappers.bandwidth import Frame, Rates, Throttle
from destinations.storage.wrappers.metered import Meter
from destinations.storage.wrappers.retrying import Circuit, RetryPolicy
from tests.fakes.clock import HandClock
from tests.fakes.faulty_store import CountingStore, CutStore, FailingStore


def filled(count: int = 3) -> MemoryStore:
    return MemoryStore({f"data/{number:02x}/p": bytes(number) for number in range(count)})


# optional abilities


def test_a_wrapper_has_just_the_abilities_of_what_it_wraps(tmp_path: Path) -> None:
    class Hashing(MemoryStore):
        def sha256(self, key: str) -> str | None:
            return f"hash of {key}"

    for wrap in WRAPS:
        assert isinstance(wrap(LocalStore(tmp_path)), ReportsCapacity)
        assert isinstance(wrap(LocalStore(tmp_path)), PreparesFolders)
        assert not isinstance(wrap(LocalStore(tmp_path)), HashesServerSide)
        assert not isinstance(wrap(MemoryStore()), ReportsCapacity)
        hashing = wrap(wrap(Hashing()))
        assert isinstance(hashing, HashesServerSide)
        assert hashing.sha256("config") in ("hash of config", "hash of a/a/config")


WRAPS: list[Callable[[ObjectStore], ObjectStore]] = [
    RetryingStore,
    lambda store: LimitedStore(store, 2),
    lambda store: BandwidthStore(store, Throttle(Rates())),
    lambda store: MeteredStore(store, Meter()),
    WriteProtectedStore,
    lambda store: PrefixedStore(store, "a"),
]


# retrying


def retrying(store: ObjectStore, clock: HandClock, policy: RetryPolicy, **options: object) -> RetryingStore:
    circuit = Circuit(policy, clock=clock, wall=lambda: 1_000_000.0 + clock(), **options)  # type: ignore[arg-type]
    return RetryingStore(store, policy, circuit=circuit, sleep=clock.sleep, rng=random.Random(5))


def test_a_passing_fault_is_repeated_after_a_growing_pause_with_jitter() -> None:
    clock = HandClock()
    store = retrying(FailingStore(filled(), at=range(1, 6)), clock, RetryPolicy(retries=5, first_pause=1))
    assert store.stat("data/01/p") == 1
    assert len(clock.slept) == 5
    for number, pause in enumerate(clock.slept):
        assert 0.5 * 2**number <= pause <= 2**number
    assert len({pause / 2**number for number, pause in enumerate(clock.slept)}) == 5, "no jitter"


def test_the_pause_never_grows_beyond_its_limit() -> None:
    policy = RetryPolicy(longest_pause=7)
    assert max(policy.pause(attempt, random.Random(attempt)) for attempt in range(1, 2000)) <= 7


@pytest.mark.parametrize("retries", [1, 3])
def test_the_number_of_repetitions_is_exact(retries: int) -> None:
    counted = CountingStore(FailingStore(filled(), from_request=1))
    with pytest.raises(StoreUnreachable):
        retrying(counted, HandClock(), RetryPolicy(retries=retries)).stat("data/01/p")
    assert counted.requests == retries + 1


def test_zero_retries_means_no_limit() -> None:
    counted = CountingStore(FailingStore(filled(), at=range(1, 200)))
    assert retrying(counted, HandClock(), RetryPolicy(retries=0, gone_after=1e9)).stat("data/01/p") == 1
    assert counted.requests == 200


def test_a_lasting_error_is_not_repeated() -> None:
    counted = CountingStore(FailingStore(filled(), from_request=1, error=lambda: AccessDenied("no")))
    with pytest.raises(AccessDenied):
        retrying(counted, HandClock(), RetryPolicy()).put("config", b"1")
    with pytest.raises(ObjectMissing):
        retrying(filled(), HandClock(), RetryPolicy()).get("config")
    assert counted.requests == 1


def test_a_put_whose_confirmation_was_lost_is_repeated() -> None:
    inner = MemoryStore()
    retrying(FailingStore(inner, at=[1], after=True), HandClock(), RetryPolicy()).put("config", b"1")
    assert inner.get("config") == b"1"


def test_a_cut_read_is_repeated_and_a_truncated_object_is_not() -> None:
    store = MemoryStore({"config": bytes(1000)})
    assert len(retrying(CutStore(store, after_bytes=600), HandClock(), RetryPolicy()).get("config")) == 1000
    clock = HandClock()
    with pytest.raises(ShortRead):
        retrying(store, clock, RetryPolicy()).get("config", length=1001)
    assert clock.slept == []


def test_a_listing_that_breaks_in_the_middle_goes_on_without_doubles() -> None:
    class Breaking(MemoryStore):
        left = 3

        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            for number, info in enumerate(super().list(prefix)):
                if self.left and number == 4 - self.left:
                    self.left -= 1
                    raise StoreUnreachable("cut")
                yield info

    store = retrying(Breaking({f"index/{n}": b"" for n in range(9)}), HandClock(), RetryPolicy(retries=1))
    keys = [info.key for info in store.list("index")]
    assert sorted(keys) == sorted({f"index/{n}" for n in range(9)})


def test_the_circuit_opens_when_the_server_is_gone_and_says_since_when() -> None:
    clock = HandClock()
    heard: list[float | None] = []
    counted = CountingStore(FailingStore(filled(), at=range(2, 8)))
    policy = RetryPolicy(retries=100, first_pause=8, longest_pause=8, gone_after=20, ask_again=50)
    store = retrying(counted, clock, policy, watcher=heard.append)
    store.stat("data/01/p")
    clock.now = 100.0
    with pytest.raises(StoreGone) as gone:
        store.stat("data/01/p")
    assert gone.value.since == pytest.approx(1_000_100.0)
    assert "since 1970-01-12 13:48:20 UTC" in str(gone.value)
    assert not gone.value.temporary
    assert heard == [pytest.approx(1_000_100.0)]
    asked = counted.requests
    for _ in range(5):
        with pytest.raises(StoreGone):
            store.get("data/01/p")
    assert counted.requests == asked, "an open circuit asks nobody"
    clock.now += 60
    with pytest.raises(StoreGone):
        store.get("data/01/p")
    assert counted.requests == asked + 1, "one question now and then"
    while counted.requests < 8:
        clock.now += 60
        try:
            store.get("data/01/p")
        except StoreGone:
            pass
    assert store.circuit.open_since is None
    assert heard[-1] is None
    assert store.get("data/01/p") == b"\0"


def test_a_server_that_does_not_answer_is_told_long_before_anybody_gives_up() -> None:
    clock = HandClock()
    heard: list[float | None] = []
    policy = RetryPolicy(retries=0, first_pause=8, longest_pause=8)
    store = retrying(FailingStore(filled(), at=range(2, 7)), clock, policy, watcher=heard.append)
    store.stat("data/01/p")
    clock.now = 100.0
    store.stat("data/01/p")
    assert clock.now < 100 + policy.gone_after
    assert heard == [pytest.approx(1_000_100.0), None]


def test_who_gives_up_says_since_when_nothing_has_worked() -> None:
    clock = HandClock()
    clock.now = 100.0
    store = retrying(FailingStore(filled(), at=range(1, 9)), clock, RetryPolicy(retries=2))
    with pytest.raises(StoreUnreachable) as given_up:
        store.stat("data/01/p")
    assert str(given_up.value).endswith("; nothing has worked since 1970-01-12 13:48:20 UTC")
    with pytest.raises(ObjectMissing) as missing:
        retrying(filled(), clock, RetryPolicy()).stat("data/01/x")
    assert "since" not in str(missing.value)


def test_without_a_limit_a_call_waits_until_the_server_is_back() -> None:
    clock = HandClock()
    heard: list[float | None] = []
    policy = RetryPolicy(retries=0, first_pause=1, longest_pause=10, gone_after=20, ask_again=60)
    counted = CountingStore(FailingStore(filled(), at=range(1, 30)))
    assert retrying(counted, clock, policy, watcher=heard.append).stat("data/02/p") == 2
    assert len(heard) == 2
    assert heard[-1] is None
    assert clock.now > 20 + 60 * 15, "while it is gone it is asked once a minute only"


def test_an_answer_that_is_a_refusal_shows_that_the_server_is_there() -> None:
    clock = HandClock()
    failing = FailingStore(filled(), at=[1, 3, 5])
    store = retrying(failing, clock, RetryPolicy(retries=1, first_pause=1, gone_after=3, gone_failures=2))
    for _ in range(3):
        with pytest.raises(ObjectMissing):
            store.get("config")
        clock.now += 100
    assert store.circuit.open_since is None


def test_a_sleep_that_raises_cancels_the_waiting_call() -> None:
    class Cancelled(Exception):
        pass

    def cancel(_seconds: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        RetryingStore(FailingStore(filled(), from_request=1), RetryPolicy(retries=0), sleep=cancel).stat("config")


# limited


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_more_calls_run_at_once_than_allowed(at_once: int) -> None:
    running, most, lock = 0, 0, threading.Lock()

    class Watching(MemoryStore):
        def stat(self, key: str) -> int:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.002)
            with lock:
                running -= 1
            return super().stat(key)

    store = LimitedStore(Watching({"config": b"1"}), at_once)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: store.stat("config"), range(40)))
    assert most == at_once
    assert store.capabilities.connections == at_once


def test_zero_calls_at_once_means_no_limit() -> None:
    meeting = threading.Barrier(12, timeout=20)

    class Meeting(MemoryStore):
        def stat(self, key: str) -> int:
            meeting.wait()
            return super().stat(key)

    store = LimitedStore(Meeting({"config": b"1"}), 0)
    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(lambda _: store.stat("config"), range(12))) == 12


def test_a_failing_call_gives_its_place_back() -> None:
    store = LimitedStore(MemoryStore(), 1)
    for _ in range(3):
        with pytest.raises(ObjectMissing):
            store.stat("config")


def test_with_one_place_the_caller_can_still_call_during_a_listing() -> None:
    store = LimitedStore(filled(20), 1)
    assert sum(store.stat(info.key) for info in store.list("data")) == sum(range(20))


def test_a_forked_child_does_not_wait_for_places_that_the_parent_holds() -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        def stat(self, key: str) -> int:
            if key == "slow":
                entered.set()
                leave.wait(20)
            return 1

    store = LimitedStore(Slow(), 1)
    thread = threading.Thread(target=store.stat, args=("slow",))
    thread.start()
    entered.wait(20)
    child = os.fork()
    if child == 0:
        os._exit(7 if store.stat("quick") == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    leave.set()
    thread.join()


# metered


def test_bytes_calls_and_errors_are_counted_by_verb() -> None:
    meter = Meter()
    store = MeteredStore(FailingStore(filled(), at=[7]), meter)
    store.put("config", [b"12", b"345"])
    store.put("config", b"")
    assert store.get("data/02/p", offset=1) == b"\0"
    list(store.list(""))
    store.delete("config")
    store.stat("data/02/p")
    with pytest.raises(StoreUnreachable):
        store.put("config", b"lost")
    with pytest.raises(ObjectMissing):
        store.get("config")
    traffic = meter.traffic()
    assert (traffic.sent, traffic.received) == (5, 1)
    assert traffic.calls == {"put": 3, "get": 2, "list": 1, "delete": 1, "stat": 1}
    assert traffic.errors == {"put": 1, "get": 1}
    assert meter.take() == traffic
    assert meter.traffic().calls == {}


def test_many_threads_are_counted_exactly() -> None:
    meter = Meter()
    store = MeteredStore(MemoryStore(), meter)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put("config", bytes(number)), range(500)))
    assert meter.traffic().sent == sum(range(500))


# read-only


def test_a_write_protected_store_reads_and_refuses_every_write() -> None:
    inner = filled()
    store = WriteProtectedStore(inner)
    assert store.get("data/01/p") == b"\0"
    assert len(list(store.list(""))) == 3
    for write in (
        lambda: store.put("config", b"1"),
        lambda: store.delete("data/01/p"),
        lambda: store.put("locks/a", b"1"),
        lambda: store.prepare(["data"]),  # type: ignore[attr-defined]
    ):
        with pytest.raises(ReadOnlyStore):
            write()
    assert len(list(inner.list(""))) == 3


def test_locks_may_pass_where_that_is_wished_and_nothing_else() -> None:
    store = WriteProtectedStore(MemoryStore(), allow_locks=True)
    store.put("locks/a", b"1")
    store.put("server/locks/a", b"1")
    store.delete("locks/a")
    for key in ("locks", "data/locks", "locks2/a", "snapshots/a"):
        with pytest.raises(ReadOnlyStore):
            store.put(key, b"1")


# prefixed


def test_a_prefix_hides_everything_beside_it() -> None:
    inner = MemoryStore({"a/config": b"1", "ab/config": b"2", "config": b"3"})
    store = PrefixedStore(inner, "a")
    assert [*store.list("")] == [ObjectInfo("config", 1)]
    store.put("data/x", b"4")
    store.delete("config")
    assert sorted(info.key for info in inner.list("")) == ["a/data/x", "ab/config", "config"]


@pytest.mark.parametrize("prefix", ["..", "/etc", "a/../b"])
def test_a_prefix_that_leaves_the_store_is_refused(prefix: str) -> None:
    with pytest.raises(BadConfig):
        PrefixedStore(MemoryStore(), prefix)


# bandwidth


def windows(moments: list[tuple[float, int]], seconds: float) -> float:
    """The largest number of bytes in any window of so many seconds."""
    most, start, total = 0, 0, 0
    for moment, count in moments:
        total += count
        while moments[start][0] < moment - seconds:
            total -= moments[start][1]
            start += 1
        most = max(most, total)
    return most


@given(
    rate=st.integers(2_000, 50_000_000),
    sizes=st.lists(st.integers(1, 20_000_000), min_size=1, max_size=6),
    gaps=st.lists(st.floats(0, 40), min_size=6, max_size=6),
)
def test_any_ten_seconds_stay_within_a_tenth_above_the_limit(rate: int, sizes: list[int], gaps: list[float]) -> None:
    clock = HandClock()
    throttle = Throttle(Rates(up=rate), clock=clock, sleep=clock.sleep)
    moments: list[tuple[float, int]] = []
    for size, gap in zip(sizes, gaps, strict=False):
        clock.now += gap
        size = min(size, rate * 30)
        while size:
            block = min(size, throttle.up_block(256 << 10))
            throttle.up(block)
            moments.append((clock.now, block))
            size -= block
    assert windows(moments, 10.0) <= 1.1 * rate * 10


def test_a_busy_line_is_used_to_the_full() -> None:
    clock = HandClock()
    throttle = Throttle(Rates(down=1_000_000), clock=clock, sleep=clock.sleep)
    for _ in range(2000):
        throttle.down(10_000)
    assert clock.now == pytest.approx(20, abs=0.3)


def test_up_and_down_are_separate_and_zero_is_no_limit() -> None:
    clock = HandClock()
    throttle = Throttle(Rates(up=1000), clock=clock, sleep=clock.sleep)
    throttle.down(10**12)
    assert throttle.down_block(1 << 20) == 1 << 20
    assert clock.slept == []
    throttle.up(2000)
    assert clock.now == pytest.approx(2)


def test_the_frame_of_the_moment_decides_the_rate() -> None:
    clock = HandClock()
    begin = datetime(2026, 11, 20, 7, 58, 30, tzinfo=UTC).timestamp()
    frames = [Frame(8 * 60, 18 * 60, Rates(up=1000), frozenset({4})), Frame(22 * 60, 6 * 60, Rates(up=9000))]
    throttle = Throttle(
        Rates(up=5000),
        frames,
        clock=clock,
        sleep=clock.sleep,
        now=lambda: datetime.fromtimestamp(begin + clock(), tz=UTC),
    )
    assert throttle.rates() == Rates(up=5000)
    clock.now += 89
    assert throttle.rates() == Rates(up=5000)
    clock.now += 1
    assert throttle.rates() == Rates(up=1000), "Friday at eight"
    clock.now += 10 * 3600
    assert throttle.rates() == Rates(up=5000)
    clock.now += 8 * 3600
    assert throttle.rates() == Rates(up=9000), "Saturday at two"
    clock.now += 6 * 3600
    assert throttle.rates() == Rates(up=5000), "Saturday at eight"


@pytest.mark.parametrize(
    ("hour", "weekday", "holds"),
    [(23, 4, True), (2, 5, True), (2, 4, False), (6, 5, False), (21, 4, False), (23, 5, False)],
)
def test_a_frame_over_midnight_belongs_to_the_day_it_starts(hour: int, weekday: int, holds: bool) -> None:
    frame = Frame(22 * 60, 6 * 60, Rates(), frozenset({4}))
    assert frame.holds(datetime(2026, 11, 16 + weekday, hour, tzinfo=UTC)) is holds


def test_threads_share_one_limit() -> None:
    throttle = Throttle(Rates(up=1_000_000))
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: throttle.up(10_000), range(80)))
    assert time.monotonic() - began > 0.5


def test_forked_children_share_one_limit_and_a_killed_one_blocks_nobody() -> None:
    throttle = Throttle(Rates(up=1_000_000))
    began = time.monotonic()
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            if number == 0:
                import fcntl

                fcntl.lockf(throttle._file, fcntl.LOCK_EX)
                os.kill(os.getpid(), 9)
            for _ in range(20):
                throttle.up(10_000)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    throttle.up(1)
    assert 0.3 < time.monotonic() - began < 20


def test_a_store_without_blocks_is_charged_for_whole_objects() -> None:
    clock = HandClock()
    store = BandwidthStore(MemoryStore(), Throttle(Rates(up=1000, down=500), clock=clock, sleep=clock.sleep))
    store.put("config", bytes(3000))
    assert clock.now == pytest.approx(3)
    store.get("config", length=1000)
    assert clock.now == pytest.approx(3 + 1.75)

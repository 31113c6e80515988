"""Limits of a destination that all processes of a machine keep to together."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from destinations.storage.config import FtpConfig
from destinations.storage.places import Places
from destinations.storage.pool import Pool
from destinations.storage.registry import open_store
from destinations.storage.wrappers.bandwidth import Rates, Throttle
from tests.contract.places import ftp_config
from tests.servers import alone

_fork = multiprocessing.get_context("fork")


class FakeLink:
    def usable(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


def within(seconds: float, happened: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happened():
            return True
        time.sleep(0.02)
    return False


def _in_child(work: Callable[[Any], None]) -> Any:
    ours, theirs = _fork.Pipe()
    child = _fork.Process(target=work, args=(theirs,), daemon=True)
    child.start()
    return child, ours


def test_places_are_counted_over_processes_and_come_back_from_the_killed(tmp_path: Path) -> None:
    places = Places(tmp_path / "connections", 2)
    assert places.try_take() is not None

    def other(pipe: Any) -> None:
        mine = Places(tmp_path / "connections", 2)
        pipe.send((mine.try_take() is not None, mine.try_take() is not None))
        time.sleep(60)

    child, pipe = _in_child(other)
    assert pipe.recv() == (True, False)
    assert places.try_take() is None
    child.kill()
    child.join()
    assert within(5, lambda: places.try_take() is not None)


def test_a_forked_child_has_none_of_its_parents_places(tmp_path: Path) -> None:
    places = Places(tmp_path / "connections", 1)
    assert places.try_take() is not None
    child, pipe = _in_child(lambda pipe: pipe.send(places.try_take()))
    assert pipe.recv() is None
    child.join()


def test_a_connection_at_rest_is_given_up_for_a_process_that_waits(tmp_path: Path) -> None:
    pool: Pool[FakeLink] = Pool(FakeLink, 1)
    pool.share(Places(tmp_path / "connections", 1))
    with pool.lease():
        pass
    assert pool.open == 1

    def other(pipe: Any) -> None:
        theirs: Pool[FakeLink] = Pool(FakeLink, 1)
        theirs.share(Places(tmp_path / "connections", 1))
        with theirs.lease():
            pipe.send("connected")

    child, pipe = _in_child(other)
    assert pipe.poll(15)
    assert pipe.recv() == "connected"
    assert within(2, lambda: pool.open == 0)
    child.join()


def test_a_thread_that_waits_for_a_place_takes_what_comes_to_rest_beside_it(tmp_path: Path) -> None:
    pool: Pool[FakeLink] = Pool(FakeLink, 2)
    pool.share(Places(tmp_path / "connections", 1))
    got = threading.Event()

    def second() -> None:
        with pool.lease():
            got.set()

    with pool.lease():
        thread = threading.Thread(target=second)
        thread.start()
        assert not got.wait(0.3)
    assert got.wait(5)
    thread.join()


def test_several_programs_together_never_have_more_connections_than_the_destination_allows(tmp_path: Path) -> None:
    config = ftp_config("pure-ftpd-few", tmp_path, connections=2)

    def program(pipe: Any) -> None:
        store = open_store(config, shared=tmp_path)
        for number in range(6):
            store.put(f"data/{pipe.recv()}-{number}", b"x" * 1000)
        store.close()
        pipe.send(store.requests())  # type: ignore[attr-defined]

    with alone("pure-ftpd-few"):
        children = [_in_child(program) for _ in range(3)]
        for index, (_, pipe) in enumerate(children):
            for _ in range(6):
                pipe.send(index)
        for child, pipe in children:
            assert pipe.poll(60)
            assert pipe.recv() > 10
            child.join()
        store = open_store(config, shared=tmp_path)
        assert len(list(store.list(""))) == 18
        store.close()


def test_programs_with_one_pace_share_it(tmp_path: Path) -> None:
    def program(pipe: Any) -> None:
        pace = Throttle(Rates(up=1_000_000), shared=tmp_path / "pace")
        for _ in range(5):
            pace.up(50_000)
        pipe.send(True)

    began = time.monotonic()
    children = [_in_child(program) for _ in range(4)]
    for child, pipe in children:
        assert pipe.poll(30)
        child.join()
    assert time.monotonic() - began >= 0.6


def test_no_limit_shares_nothing(tmp_path: Path) -> None:
    open_store(FtpConfig(host="ftp.example.org", user="u", connections=0), shared=tmp_path).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, -1, 1000])
def test_a_number_of_places_is_bounded(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match="places"):
        Places(tmp_path / "connections", count)

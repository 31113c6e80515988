"""Helper processes: every task is done once, a failure is told, and nobody is left behind."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backups.engine.errors import BlobMissing, Canceled, Corrupt, EngineError
from backups.engine.pool import Handler, Pool, Report, WorkerDied, default_workers
from backups.engine.threads import ThreadPool
from destinations.storage.errors import StoreFull
from tests.engine.running import children, in_child


def doing(work: Callable[[Any, Report], Any]) -> Callable[[], Handler]:
    return lambda: work


def double(task: int, report: Report) -> int:
    return 2 * task


@pytest.fixture(autouse=True)
def no_child_is_left() -> Any:
    """After each test there is neither a running child nor a zombie that was not there before."""
    before = children()
    yield
    assert children() <= before


@settings(max_examples=15)
@given(st.lists(st.integers(), max_size=40), st.integers(0, 4))
def test_every_task_is_done_once(tasks: list[int], workers: int) -> None:
    with Pool(doing(double), workers) as pool:
        for task in tasks:
            pool.submit(task)
        found = list(pool.results())
    assert sorted(found) == sorted((task, 2 * task) for task in tasks)


@pytest.mark.parametrize("workers", [0, 2])
def test_tasks_that_come_while_results_are_read_are_done_too(workers: int) -> None:
    seen = []
    with Pool(doing(double), workers) as pool:
        pool.submit(1)
        for task, result in pool.results():
            seen.append(task)
            if result < 100:
                pool.submit(result)
    assert seen == [1, 2, 4, 8, 16, 32, 64]


def test_no_more_children_are_started_than_there_is_work() -> None:
    def work(task: int, report: Report) -> int:
        return os.getpid()

    with Pool(doing(work), 8) as pool:
        pool.submit(1)
        (one,) = {pid for _, pid in pool.results()}
        assert one != os.getpid()
        for task in range(40):
            pool.submit(task)
        assert len({pid for _, pid in pool.results()}) <= 8


def test_a_slow_task_holds_up_nobody() -> None:
    def work(task: float, report: Report) -> float:
        time.sleep(task)
        return task

    with Pool(doing(work), 2) as pool:
        for task in [0.8, *[0.01] * 20]:
            pool.submit(task)
        order = [task for task, _ in pool.results()]
    assert order.index(0.8) >= 19


@pytest.mark.parametrize("workers", [0, 2])
def test_reports_come_before_the_result_they_belong_to(workers: int) -> None:
    reports: list[Any] = []

    def work(task: int, report: Report) -> int:
        for part in range(3):
            report((task, part))
        return task

    with Pool(doing(work), workers, on_report=reports.append) as pool:
        for task in range(10):
            pool.submit(task)
        for task, _ in pool.results():
            assert [part for number, part in reports if number == task] == [0, 1, 2]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "error",
    [
        Corrupt("bad", kind="pack", object_id="ab"),
        BlobMissing("gone"),
        StoreFull("full", key="k"),
        OSError(28, "no room"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_helper_raises_is_raised_here(workers: int, error: Exception) -> None:
    def work(task: int, report: Report) -> int:
        if task == 3:
            raise error
        return task

    with pytest.raises(type(error)) as told, Pool(doing(work), workers) as pool:
        for task in range(5):
            pool.submit(task)
        list(pool.results())
    assert str(told.value) == str(error)
    if isinstance(error, Corrupt) and isinstance(told.value, Corrupt):
        assert (told.value.kind, told.value.object_id) == (error.kind, error.object_id)


def test_a_mistake_of_ours_comes_with_its_traceback() -> None:
    def work(task: int, report: Report) -> int:
        return task // 0

    with pytest.raises(EngineError, match="ZeroDivisionError"), Pool(doing(work), 1) as pool:
        pool.submit(1)
        list(pool.results())


@pytest.mark.parametrize("end", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(0)])
def test_a_helper_that_dies_is_told(end: Callable[[], None]) -> None:
    def work(task: int, report: Report) -> int:
        if task == 2:
            end()
        return task

    with pytest.raises(WorkerDied), Pool(doing(work), 2) as pool:
        for task in range(6):
            pool.submit(task)
        list(pool.results())


def test_a_helper_that_cannot_start_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    def make() -> Handler:
        raise RuntimeError("no start")

    with pytest.raises(WorkerDied), Pool(make, 1) as pool:
        pool.submit(1)
        list(pool.results())
    assert "no start" in capfd.readouterr().err


def test_what_the_tick_raises_stops_everything_soon() -> None:
    began = time.monotonic()

    def tick() -> None:
        if time.monotonic() - began > 0.3:
            raise Canceled("stop")

    def work(task: int, report: Report) -> int:
        time.sleep(0.05)
        return task

    with pytest.raises(Canceled), Pool(doing(work), 2, tick=tick) as pool:
        for task in range(10_000):
            pool.submit(task)
        list(pool.results())
    assert time.monotonic() - began < 8


def test_a_helper_that_does_not_stop_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from backups.engine import pool as module

    monkeypatch.setattr(module, "_GRACE_SECONDS", 0.3)

    def work(task: int, report: Report) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        report("busy")
        time.sleep(600)
        return task

    def stop(_: Any) -> None:
        raise Canceled("stop")

    began = time.monotonic()
    with pytest.raises(Canceled), Pool(doing(work), 1, on_report=stop) as pool:
        pool.submit(1)
        list(pool.results())
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("workers", [0, 3])
def test_everywhere_reaches_every_helper_once(workers: int) -> None:
    def work(task: int, report: Report) -> int:
        time.sleep(0.02)
        return os.getpid()

    with Pool(doing(work), workers) as pool:
        assert pool.everywhere(-1) == []
        for task in range(20):
            pool.submit(task)
        pids = {pid for _, pid in pool.results()}
        answers = pool.everywhere(-1)
        assert sorted(answers) == sorted(pids)


def test_helpers_end_with_their_parent(tmp_path: Path) -> None:
    """However the parent ends: with SIGKILL it has no time to say so."""
    note = tmp_path / "pids"

    def work(task: int, report: Report) -> int:
        with open(note, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(600)
        return task

    pid = os.fork()
    if pid == 0:
        with Pool(doing(work), 2) as pool:
            for task in range(4):
                pool.submit(task)
            list(pool.results())
        os._exit(0)
    while not note.exists() or len(note.read_text().split()) < 2:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    end = time.monotonic() + 20
    children = [int(text) for text in note.read_text().split()]
    while any(Path(f"/proc/{child}").exists() and _state(child) != "Z" for child in children):
        assert time.monotonic() < end
        time.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def test_a_helper_does_not_run_what_its_parent_would_at_its_end(tmp_path: Path) -> None:
    note = tmp_path / "note"

    def run() -> int:
        import atexit

        atexit.register(lambda: note.write_text(str(os.getpid())))
        with Pool(doing(double), 2) as pool:
            for task in range(10):
                pool.submit(task)
            list(pool.results())
        return len(gc.get_objects()) > 0

    in_child(run)
    assert not note.exists()


def test_a_handler_that_can_be_closed_is(tmp_path: Path) -> None:
    class Closing:
        def __call__(self, task: int, report: Report) -> int:
            return task

        def close(self) -> None:
            (tmp_path / f"closed-{os.getpid()}").touch()

    with Pool(Closing, 2) as pool:
        for task in range(6):
            pool.submit(task)
        list(pool.results())
    assert 1 <= len(list(tmp_path.glob("closed-*"))) <= 2


def test_there_is_at_least_one_helper_and_at_most_eight() -> None:
    assert 1 <= default_workers() <= 8


# ---------------------------------------------------------------------- the same in threads


def test_threads_do_the_same_work() -> None:
    with ThreadPool(doing(double), 3) as pool:
        pool.submit(1)
        seen = []
        for task, result in pool.results():
            seen.append(task)
            if result < 100:
                pool.submit(result)
    assert seen == [1, 2, 4, 8, 16, 32, 64]


def test_what_a_thread_raises_is_raised_here() -> None:
    def work(task: int, report: Report) -> int:
        raise Corrupt("bad")

    with pytest.raises(Corrupt), ThreadPool(doing(work), 2) as pool:
        for task in range(5):
            pool.submit(task)
        list(pool.results())

"""Locks hold between the two programs: who excludes whom, what the dead leave, and that the living stay alive."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.ours import Ours, new_repository
from tests.peers import Restic


@pytest.fixture
def ours(tmp_path: Path) -> Ours:
    """A repository with one snapshot, and a folder ``tree``."""
    made = new_repository(tmp_path)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"content")
    made.run("backup", "tree", cwd=tmp_path)
    return made


def locks(ours: Ours) -> list[Path]:
    """The lock objects; not those that are still being written."""
    return [path for path in (ours.repo / "locks").iterdir() if len(path.name) == 64]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@contextmanager
def waiting(process: subprocess.Popen[bytes], ours: Ours) -> Iterator[subprocess.Popen[bytes]]:
    """A program that holds its lock because its standard input has not ended."""
    assert process.stdin is not None
    try:
        wait_for(lambda: locks(ours))
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finish(process: subprocess.Popen[bytes]) -> None:
    """Let it come to its end."""
    said, errors = process.communicate(input=b"something", timeout=120)
    assert process.returncode == 0, (said + errors).decode()


def conflict(restic: Restic) -> int:
    """The exit code of a lock conflict."""
    return 11 if restic.version >= (0, 17) else 1


def test_our_shared_lock_lets_stock_back_up_and_keeps_it_from_pruning(
    ours: Ours, restic: Restic, tmp_path: Path
) -> None:
    with waiting(ours.start("backup", "--stdin"), ours) as process:
        restic.run(ours.repo, "backup", "tree", cwd=tmp_path)
        for verb in (["prune"], ["forget", "--keep-last", "1"], ["check"]):
            refused = restic.run(ours.repo, *verb, check=False)
            assert refused.returncode == conflict(restic)
            assert "locked" in refused.stderr
        finish(process)
    assert locks(ours) == []
    restic.run(ours.repo, "check")


def test_stocks_shared_lock_lets_us_back_up_and_keeps_us_from_pruning(
    ours: Ours, restic: Restic, tmp_path: Path
) -> None:
    with waiting(restic.start(ours.repo, "backup", "--stdin"), ours) as process:
        ours.run("backup", "tree", cwd=tmp_path)
        for verb in (["prune"], ["forget", "--keep-last", "1"], ["repair", "index"], ["key", "remove", "abcd"]):
            refused = ours.run(*verb, check=False)
            assert refused.returncode == 11, refused.stdout + refused.stderr
            assert "Traceback" not in refused.stderr
        finish(process)
    assert locks(ours) == []
    ours.run("prune")


def _stopped_with_exclusive_lock(process: subprocess.Popen[bytes], ours: Ours) -> None:
    """Stop a program as soon as it has written its lock."""
    wait_for(lambda: locks(ours))
    process.send_signal(signal.SIGSTOP)


def test_our_exclusive_lock_keeps_stock_out_until_it_is_gone(ours: Ours, restic: Restic, tmp_path: Path) -> None:
    repository = ours.open()
    with repository.locked(exclusive=True):
        for verb in (["snapshots"], ["backup", "tree"], ["prune"]):
            assert restic.run(ours.repo, *verb, check=False, cwd=tmp_path).returncode == conflict(restic)
    restic.run(ours.repo, "snapshots")


def test_stocks_exclusive_lock_keeps_us_out_until_it_is_gone(ours: Ours, restic: Restic, tmp_path: Path) -> None:
    process = restic.start(ours.repo, "prune")
    try:
        _stopped_with_exclusive_lock(process, ours)
        for verb in (["backup", "tree"], ["prune"], ["snapshots"], ["restore", "latest", "--target", "out"]):
            assert ours.run(*verb, check=False, cwd=tmp_path).returncode == 11
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=120)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
    ours.run("backup", "tree", cwd=tmp_path)


def test_whoever_waits_gets_his_turn(ours: Ours, newest_restic: Restic, tmp_path: Path) -> None:
    with waiting(newest_restic.start(ours.repo, "backup", "--stdin"), ours) as process:
        pruning = ours.start("--retry-lock", "60s", "prune")
        try:
            time.sleep(1.5)
            assert pruning.poll() is None
            finish(process)
            _, errors = pruning.communicate(timeout=120)
        finally:
            pruning.kill()
            pruning.communicate()
        assert pruning.returncode == 0, errors


def test_a_dead_holders_lock_blocks_until_the_other_program_unlocks(ours: Ours, restic: Restic, tmp_path: Path) -> None:
    for start, unlock in (
        (lambda: ours.start("backup", "--stdin"), lambda: restic.run(ours.repo, "unlock")),
        (lambda: restic.start(ours.repo, "backup", "--stdin"), lambda: ours.run("unlock")),
    ):
        with waiting(start(), ours) as process:
            process.kill()
            process.wait()
        assert len(locks(ours)) == 1
        assert restic.run(ours.repo, "prune", check=False).returncode == conflict(restic)
        assert ours.run("prune", check=False).returncode == 11
        unlock()
        assert locks(ours) == []
        ours.run("prune")


def test_stocks_unlock_neither_kills_a_holder_of_ours_nor_takes_its_lock(ours: Ours, restic: Restic) -> None:
    """It sends a real SIGHUP to see whether the holder is alive."""
    with waiting(ours.start("backup", "--stdin"), ours) as process:
        before = locks(ours)
        restic.run(ours.repo, "unlock")
        time.sleep(0.2)
        assert process.poll() is None
        assert locks(ours) == before
        finish(process)
    assert len(ours.open().snapshots()) == 2


def test_our_unlock_leaves_a_living_stock_alone(ours: Ours, restic: Restic) -> None:
    with waiting(restic.start(ours.repo, "backup", "--stdin"), ours) as process:
        before = locks(ours)
        ours.run("unlock")
        assert locks(ours) == before
        finish(process)


def test_stock_can_read_what_our_locks_say(ours: Ours, newest_restic: Restic) -> None:
    with waiting(ours.start("backup", "--stdin"), ours) as process:
        (path,) = locks(ours)
        said = newest_restic.json(ours.repo, "cat", "lock", path.name, "--no-lock")
        assert said["pid"] == process.pid
        assert said["exclusive"] is False
        assert said["hostname"] == os.uname().nodename
        finish(process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_backup_leaves_no_lock_and_a_whole_repository(
    ours: Ours, newest_restic: Restic, number: signal.Signals
) -> None:
    with waiting(ours.start("backup", "--stdin"), ours) as process:
        assert process.stdin is not None
        process.stdin.write(b"some data" * 100_000)
        process.stdin.flush()
        process.send_signal(number)
        process.stdin.close()
        process.stdin = None
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        assert b"Traceback" not in errors
    assert locks(ours) == []
    assert len(ours.open().snapshots()) == 1
    newest_restic.run(ours.repo, "check", "--read-data")

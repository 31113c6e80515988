"""Cleanup and integrity checks on a real repository, as cron and the scheduler start them."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.worker.installation import ROOT, Installation
from tests.worker.test_live import nightly


@pytest.fixture
def stored(plain: Installation) -> Installation:
    """Two snapshots of one account, the older of which holds data that the newer does not."""
    plain.start("worker")
    schedule = nightly(plain, 8)
    assert plain.ended(plain.call("run", schedule=schedule))["state"] == "success"
    plain.home("alice", 8)
    assert plain.ended(plain.call("run", schedule=schedule))["state"] == "success"
    return plain


def packs(here: Installation) -> int:
    return sum(path.stat().st_size for path in here.folder.glob("data/backups/*/data/*/*"))


def command(here: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    manage = here.commands["scheduler"][:-1]
    return subprocess.run(
        [*manage, *words], cwd=ROOT, env=here.env, capture_output=True, text=True, timeout=90, check=False
    )


def last(here: Installation, kind: str) -> dict[str, Any]:
    number = [job["id"] for job in here.call("jobs") if job["kind"] == kind][-1]
    return here.ended(number)


def test_a_cleanup_removes_what_was_marked_long_enough_and_frees_its_space(stored: Installation) -> None:
    before = packs(stored)
    stored.call("mark", days=1)
    assert command(stored, "cleanup", "--wait").returncode == 0
    assert last(stored, "cleanup")["items"][0]["result"]["forgotten"] == 0
    stored.call("mark", days=5)
    done = command(stored, "cleanup", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    row = last(stored, "cleanup")
    assert row["items"][0]["result"]["forgotten"] == 1
    assert stored.call("snapshots") == 1
    assert before - packs(stored) > 6 << 20
    assert row["items"][0]["result"]["freed"] == pytest.approx(before - packs(stored), rel=0.05)
    assert command(stored, "integrity", "--wait").returncode == 0


def test_the_last_whole_snapshot_of_an_account_is_never_removed_by_retention(stored: Installation) -> None:
    stored.call("mark", days=9, count=2)
    assert command(stored, "cleanup", "--wait").returncode == 0
    assert stored.call("snapshots") == 2


def test_a_check_finds_damage_says_where_and_the_next_backup_heals_what_is_missing(stored: Installation) -> None:
    assert command(stored, "integrity", "--wait").returncode == 0
    clean = last(stored, "check")
    assert (clean["state"], clean["items"][0]["result"]["errors"]) == ("success", 0)
    assert clean["items"][0]["result"]["packs_read"] == clean["items"][0]["result"]["packs"]
    large = [path for path in stored.folder.glob("data/backups/*/data/*/*") if path.stat().st_size > 1 << 20]
    max(large, key=lambda path: path.stat().st_mtime_ns).unlink()
    done = command(stored, "integrity", "--wait")
    assert done.returncode == 1
    row = last(stored, "check")
    assert (row["state"], row["items"][0]["code"]) == ("failed", "HF-REPOSITORY-DAMAGED")
    assert stored.call("damaged") == {"snapshots": 1, "repositories": 1}
    assert stored.ended(stored.call("run", schedule=stored.call("schedules")[0]))["state"] == "success"
    assert command(stored, "integrity", "--wait").returncode == 0
    assert stored.call("damaged") == {"snapshots": 0, "repositories": 0}


def test_a_check_that_runs_out_of_time_goes_on_where_it_stopped(stored: Installation) -> None:
    stored.call("stop_check_after", packs=1)
    assert command(stored, "integrity", "--wait").returncode == 0
    result = last(stored, "check")["items"][0]["result"]
    assert 0 < result["packs_read"] < result["packs"]
    assert any("goes on where" in line for line in last(stored, "check")["log"])


def test_the_scheduler_starts_both_once_a_day(plain: Installation) -> None:
    schedule = nightly(plain, 1)
    plain.start("worker")
    assert plain.ended(plain.call("run", schedule=schedule))["state"] == "success"
    assert plain.ended(plain.call("run", schedule=schedule))["state"] == "success"
    plain.call("mark", days=9)
    kinds = plain.call("upkeep", times=3)
    assert sorted(kinds) == ["check", "cleanup"]


def test_a_backup_waits_for_a_check_and_says_so(stored: Installation) -> None:
    stored.stop("worker")
    check = stored.call("integrity")
    stored.call("claim_one")
    schedule = stored.call("schedules")[0]
    waiting = stored.call("run", schedule=schedule)
    assert stored.call("claim_one") is None
    assert stored.call("job", number=waiting)["items"][0]["waits_for"] == "Waits for: Integrity check"
    assert stored.call("job", number=check)["state"] == "running"

"""A home that was locked for a restore opens again, whoever is killed when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.worker.installation import Installation

ALICE = 60123


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.skipif(os.geteuid() != 0, reason="only root restores into a home that nobody may enter")
def test_a_home_opens_again_after_its_worker_was_killed_twice(plain: Installation) -> None:
    here = plain
    home = here.home("alice", 16)
    for path in (home, *home.rglob("*")):
        os.chown(path, ALICE, ALICE)
    home.chmod(0o710)
    account = here.call("account", name="alice", home=str(home))
    here.call("own", account=account, user=ALICE)
    here.start("worker")
    schedule = here.call("schedule", name="Nightly", account=account)
    first = here.ended(here.call("run", schedule=schedule))
    assert first["state"] == "success", first
    for path in home.iterdir():
        path.unlink()
    job = here.call("restore", account=account, rate=4 << 20)
    here.until(lambda: mode(home) == 0)
    here.kill("worker")
    assert (mode(home), here.call("locked_homes")) == (0, 1)
    here.start("worker")
    here.until(lambda: here.call("job", number=job)["items"][0]["tries"] == 2)
    here.until(lambda: mode(home) == 0)
    here.kill("worker")
    here.start("worker", "scheduler")
    here.until(lambda: mode(home) == 0o710)
    here.until(lambda: here.call("locked_homes") == 0)
    row = here.ended(job)
    assert (row["state"], row["items"][0]["code"]) == ("failed", "HF-WORKER-LOST")
    again = here.ended(here.call("restore", account=account, rate=0))
    assert again["state"] == "success"
    assert mode(home) == 0o710

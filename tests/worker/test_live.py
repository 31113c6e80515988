"""The job machine with everything that goes wrong on a server, on running processes."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.worker.installation import Installation


@pytest.fixture(params=["plain", "production"])
def anywhere(request: pytest.FixtureRequest) -> Installation:
    """Both ways to install."""
    found: Installation = request.getfixturevalue(request.param)
    return found


def nightly(here: Installation, megabytes: int = 60, **values: Any) -> int:
    """A schedule of one account with so much data, of which 16 MiB a second are stored; returns its number."""
    here.call("pace", rate=16 << 20)
    account = here.call("account", name="alice", home=str(here.home("alice", megabytes)))
    return int(here.call("schedule", name="Nightly", account=account, **values))


def broker(here: Installation) -> redis.Redis:
    file = here.env.get("HOLDFAST_REDIS_URL_FILE")
    url = Path(file).read_text().strip() if file else f"unix://{here.folder}/data/run/broker.sock"
    return redis.Redis.from_url(url, socket_timeout=300)


def test_a_killed_worker_costs_nothing_but_time(anywhere: Installation) -> None:
    here = anywhere
    here.start("worker")
    schedule = nightly(here, 64)
    job = here.call("run", schedule=schedule)
    first = here.started(job)
    locked = first["items"][0]["attempts"][0][2]
    assert locked in here.call("locks")
    here.kill("worker")
    here.start("worker")
    row = here.ended(job)
    assert (row["state"], row["error"]) == ("success", "")
    assert [attempt[0] for attempt in row["items"][0]["attempts"]] == ["lost", "ended"]
    assert row["items"][0]["tries"] == 2
    assert len(row["snapshots"]) == 1
    here.until(lambda: here.call("locks") == [])
    again = here.ended(here.call("run", schedule=schedule))
    assert again["state"] == "success"


def test_a_flushed_broker_loses_nothing(anywhere: Installation) -> None:
    here = anywhere
    schedule = nightly(here, 2)
    job = here.call("run", schedule=schedule)
    with broker(here) as connection:
        connection.flushdb()
    here.start("worker", "scheduler")
    assert here.ended(job)["state"] == "success"


def test_a_message_delivered_often_runs_the_work_once(plain: Installation) -> None:
    job = plain.call("run", schedule=nightly(plain, 8))
    plain.call("ring_often", times=20)
    plain.start("worker")
    row = plain.ended(job)
    assert row["state"] == "success"
    assert plain.call("attempts") == 1
    assert plain.call("snapshots") == 1


def test_a_scheduler_that_was_away_for_a_day_catches_up_or_reports(plain: Installation) -> None:
    caught = nightly(plain, 1)
    other = plain.call("account", name="bob", home=str(plain.home("bob", 1)))
    reported = plain.call("schedule", name="Reported", account=other, catch_up="report")
    plain.call("due", schedule=caught, days=1.2)
    plain.call("due", schedule=reported, days=1.2)
    plain.start("worker", "scheduler")
    # The day's cleanup and check may have their turn as well.
    backups = lambda: [job for job in plain.call("jobs") if job["kind"] == "backup"]  # noqa: E731
    plain.until(lambda: [job["trigger"] for job in backups()] == ["scheduled"])
    assert plain.ended(backups()[0]["id"])["state"] == "success"
    state = plain.until(lambda: (found := plain.call("overdue", schedule=reported))["since"] and found)
    assert state["later"]
    assert state["events"] == ["schedule.overdue"]
    assert plain.call("overdue", schedule=caught)["later"]
    assert len(backups()) == 1


def test_a_cancelled_backup_ends_within_a_second_and_leaves_nothing(plain: Installation) -> None:
    plain.start("worker")
    job = plain.call("run", schedule=nightly(plain, 100))
    plain.started(job)
    assert plain.call("cancel", number=job)
    row = plain.ended(job)
    assert row["state"] == "aborted"
    assert row["took"] < 1.5
    plain.until(lambda: plain.call("locks") == [])
    assert plain.call("snapshots") == 0


def test_a_web_restart_does_not_touch_a_running_job(plain: Installation) -> None:
    plain.start("worker", "web")
    job = plain.call("run", schedule=nightly(plain, 40))
    plain.started(job)
    plain.kill("web")
    plain.start("web")
    row = plain.ended(job)
    assert row["state"] == "success"
    assert [attempt[0] for attempt in row["items"][0]["attempts"]] == ["ended"]


def test_two_workers_claim_everything_once(anywhere: Installation) -> None:
    here = anywhere
    here.call("option", key="slots_backup", value=10)
    here.call("empty_jobs", count=24)
    workers = [here.agent() for _ in range(2)]
    for number, worker in enumerate(workers):
        worker.ask("claim_all", worker=f"w{number}/1")
    claimed = [worker.answer() for worker in workers]
    for worker in workers:
        worker.close()
    together = [item for mine in claimed for item in mine]
    assert len(together) == len(set(together)) == 24
    assert here.call("left") == 0


def kept(file: Path) -> bool:
    """Whether a process keeps the lock of a file, as one of a test before does not."""
    with file.open() as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_second_worker_of_the_same_name_is_refused(plain: Installation) -> None:
    plain.start("worker")
    workspace = plain.folder / "data" / "workspace"
    plain.until(lambda: any(kept(file) for file in workspace.glob("worker-*.lock")))
    second = subprocess.run(
        [*plain.commands["worker"], "--patience", "0.2"], env=plain.env, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert second.returncode != 0
    assert "HOLDFAST_WORKER_NAME" in second.stderr


def test_items_that_end_at_the_same_moment_end_their_job(production: Installation) -> None:
    production.call("option", key="slots_backup", value=10)
    workers = [production.agent() for _ in range(2)]
    for _ in range(6):
        production.call("empty_jobs", count=2)
        for number, worker in enumerate(workers):
            worker.ask("claim_all", worker=f"w{number}/1", at_once=True)
        for worker in workers:
            worker.answer()
    for worker in workers:
        worker.close()
    assert {job["state"] for job in production.call("jobs")} == {"success"}

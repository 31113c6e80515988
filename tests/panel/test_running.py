"""Sessions that end at a bad moment, and items that are stopped at one: nothing is lost, nobody waits."""

from __future__ import annotations

import os
import signal
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backups import running
from backups.gateway import EngineSession, session_spec
from backups.models import Repository, Snapshot, SnapshotKind
from backups.records import snapshots_adopt
from backups.services.schedules import ScheduleData, schedule_create, schedule_run, schedules_tick
from backups.services.upkeep import cleanup_request, integrity_request
from destinations.models import Destination
from restores.work import RestorePlan
from tests.panel.restoring import Site, ended, site  # noqa: F401 - site is a fixture
from worker import turns
from worker.claim import claim_next
from worker.clock import now
from worker.context import ItemContext
from worker.finish import job_cancel
from worker.models import Attempt, Job
from worker.reaper import reap
from worker.run import work_on

pytestmark = pytest.mark.django_db
Backup = running.SessionRunner


def another(site: Site, destination: Destination | None = None) -> Job:  # noqa: F811
    """A job of a second schedule of the account."""
    values = {"name": "Second", "scope": "web", "frequency": "manual"}
    data = ScheduleData(site.people["server"], site.account, [destination or site.people["destination"]], values)
    return schedule_run(schedule_create(data, actor=site.people["root"]))


def test_two_first_runs_at_one_time_make_one_repository(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    jobs = [schedule_run(site.schedule), another(site)]
    claims = [claim_next(f"worker-{number}", site.people["server"].pk) for number in (1, 2)]
    first, second = claims
    assert first is not None
    assert second is not None
    key = Repository.objects.get().birth
    assert turns.my_turn(first, key, "made by")
    asked: list[float] = []

    def meanwhile(seconds: float) -> None:
        asked.append(seconds)
        if len(asked) == 2:
            work_on(first)

    monkeypatch.setattr(turns, "sleep", meanwhile)
    work_on(second)
    assert len(asked) == 2
    for job in jobs:
        ended(job)
    assert Snapshot.objects.count() == 2
    assert any("the repository is being made by" in text for text in jobs[1].log.values_list("text", flat=True))


def test_a_first_run_that_nobody_heard_of_locks_no_other_schedule_out(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as deaf:
        deaf.setattr(Backup, "_known", lambda *_: None)
        schedule_run(site.schedule)
        site.work()
    assert not Repository.objects.get().repository_id
    for job in (another(site), schedule_run(site.schedule)):
        site.work()
        ended(job)


def test_a_repository_is_made_with_the_key_that_was_noted_for_it(site: Site) -> None:  # noqa: F811
    job_cancel(schedule_run(site.schedule), by="test")
    running.note_key(Repository.objects.get(), site.schedule)
    for job in (another(site), schedule_run(site.schedule)):
        site.work()
        ended(job)


def test_a_lock_that_a_lost_storage_kept_is_removed_by_the_next_session(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snapshot = site.back_up()
    top = Path(snapshot.repository.destination.config["path"])
    away = top.with_name("away")
    take = Backup._take

    def lose(self: Any, event: dict[str, Any]) -> None:
        if event["event"] == "saved":
            top.rename(away)
            top.write_text("no folder")
        take(self, event)

    monkeypatch.setattr(Backup, "_take", lose)
    site.back_up()
    monkeypatch.setattr(Backup, "_take", take)
    top.unlink()
    away.rename(top)
    assert list(top.rglob("locks/*"))
    assert Attempt.objects.exclude(lock_id="").count() == 1
    cleanup_request(actor=site.people["root"])
    site.work()
    ended(Job.objects.get(kind="cleanup"))
    assert not list(top.rglob("locks/*"))
    assert not Attempt.objects.exclude(lock_id="").exists()


def test_a_snapshot_is_known_although_its_session_died_right_after_it(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take = Backup._take

    def kill(self: Any, event: dict[str, Any]) -> None:
        if event["event"] != "ended":
            take(self, event)
        if event["event"] == "saved":
            os.killpg(self._session._process.pid, signal.SIGKILL)

    monkeypatch.setattr(Backup, "_take", kill)
    assert site.back_up().files == 5


def test_a_restore_that_is_stopped_after_its_safety_snapshot_touches_nothing(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snapshot = site.back_up()
    (site.home / "notes.txt").write_text("changed")
    before, after = site.state(), RestorePlan._after_safety

    def stop(self: RestorePlan, item: running.Running, status: int) -> Any:
        item.stopping = True
        return after(self, item, status)

    monkeypatch.setattr(RestorePlan, "_after_safety", stop)
    restore = site.restore(snapshot, "notes.txt")
    assert (restore.job.state, restore.job.error_code) == ("aborted", "HF-CANCELED")
    assert site.state() == before
    assert Snapshot.objects.filter(kind=SnapshotKind.SAFETY).count() == 1


def stopped_after(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[float]:
    """Stop the job that runs next after so long; return where it is noted how long its end took."""
    until, took = time.monotonic() + seconds, list[float]()
    finish = running.item_finish

    def finished(claim: Any, outcome: Any) -> bool:
        took.append(time.monotonic() - until)
        return finish(claim, outcome)

    monkeypatch.setattr(ItemContext, "canceled", lambda self: time.monotonic() > until)
    monkeypatch.setattr(running, "item_finish", finished)
    return took


def test_a_run_that_waits_for_a_silent_server_stops_at_once(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = {"host": "127.0.0.1", "port": silent.getsockname()[1], "user": "u", "path": "/"}
        job = another(site, Destination.objects.create(name="Silent", kind="ftp", config=config))
        took = stopped_after(monkeypatch, 2.0)
        monkeypatch.setattr("worker.children._PATIENCE", 1)
        site.work()
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("aborted", "HF-CANCELED")
    assert took[0] < 1.5


def test_a_run_whose_child_hangs_counts_as_stopped_at_once(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site.back_up()
    (site.home / "large").write_bytes(os.urandom(64 << 20))
    take = Backup._take

    def freeze(self: Any, event: dict[str, Any]) -> None:
        take(self, event)
        if event["event"] == "ready":
            time.sleep(0.3)
            session = self._session._process.pid
            for child in Path(f"/proc/{session}/task/{session}/children").read_text().split():
                os.kill(int(child), signal.SIGSTOP)

    monkeypatch.setattr(Backup, "_take", freeze)
    monkeypatch.setattr(running, "_LINGER", 0.5)
    job = schedule_run(site.schedule)
    took = stopped_after(monkeypatch, 2.0)
    site.work()
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("aborted", "HF-CANCELED")
    assert took[0] < 1.5


def test_a_check_finds_snapshots_without_a_row_and_rows_without_a_snapshot(site: Site) -> None:  # noqa: F811
    snapshots = [site.back_up() for _ in range(4)]
    orphan, gone, removed, _ = snapshots
    fields = {field.name: getattr(orphan, field.name) for field in Snapshot._meta.fields}
    orphan.delete()
    top = Path(gone.repository.destination.config["path"])
    next(top.rglob(gone.snapshot_id)).unlink()
    Snapshot.objects.filter(pk=removed.pk).update(removed_at=now())
    integrity_request(actor=site.people["root"])
    site.work()
    check = Job.objects.get(kind="check")
    assert (check.state, check.error_code) == ("failed", "HF-REPOSITORY-DAMAGED")
    found = Snapshot.objects.get(snapshot_id=fields["snapshot_id"])
    unknown = ("id", "job", "mount")
    assert {name: getattr(found, name) for name in fields if name not in unknown} == {
        name: value for name, value in fields.items() if name not in unknown
    }
    gone.refresh_from_db()
    assert gone.damaged_at is not None
    assert not Snapshot.objects.present().exclude(pk=gone.pk).exclude(damaged_at=None).exists()
    assert Snapshot.objects.count() == 4


def test_a_found_snapshot_is_nobodys_who_does_not_own_its_repository(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    other = site.people["mallory_account"]
    found = {
        "snapshot": "c" * 64, "tree": "d" * 64, "taken_at": 1, "files": 1, "size": 1, "data_added": 1,
        "tags": [f"account:{other.uid}", f"schedule:{site.schedule.pk}", "kind:manual", "scope:web"],
    }  # fmt: skip
    assert snapshots_adopt(snapshot.repository, [found, found | {"tags": ["account", "kind:manual"]}]) == []
    assert list(Snapshot.objects.all()) == [snapshot]


def test_a_clock_that_is_set_back_leaves_no_schedule_waiting_and_no_dead_worker_alive(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead = now() + timedelta(days=200)
    (job,) = schedules_tick(ahead)
    site.schedule.refresh_from_db()
    assert site.schedule.next_run_at > ahead
    claim = claim_next("dead", site.people["server"].pk)
    assert claim is not None
    Attempt.objects.update(heartbeat_at=ahead)
    schedules_tick(now())
    site.schedule.refresh_from_db()
    assert site.schedule.next_run_at < now() + timedelta(days=1)
    assert reap() == 0
    monkeypatch.setattr("worker.reaper.now", lambda: now() + timedelta(minutes=1))
    assert reap() == 1
    job.refresh_from_db()
    assert job.items.get().state == "pending"


def test_a_long_command_waits_for_nobody_and_arrives_whole(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    spec = session_spec(snapshot.repository, site.schedule)
    holder = EngineSession(spec)
    try:
        until(holder, "ready")
        waiter = EngineSession(spec | {"exclusive": True})
        try:
            until(waiter, "waiting")
            began = time.monotonic()
            unknown = [f"{number:064x}" for number in range(3000)]
            waiter.send(do="inspect", item=1, seconds=0, known=[snapshot.snapshot_id], removed=unknown)
            assert time.monotonic() - began < 1.0
            holder.close()
            assert until(waiter, "inspected")["errors"] == 0
        finally:
            waiter.close()
    finally:
        holder.close()


def until(session: EngineSession, event: str) -> dict[str, Any]:
    """Return the first event of a kind that a session says."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not session.ended:
        for said in session.events(0.2):
            if said["event"] == event:
                return said
    raise AssertionError(f"it never said {event}")

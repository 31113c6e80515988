"""The job machine: claims, limits, leases, lost workers, cancel, and the schedule tick."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from time import sleep
from typing import Any

import pytest
from django.db import connection

from backups.models import Schedule
from backups.services.schedules import ScheduleData, schedule_create, schedule_run, schedules_tick
from panel.audit.models import AuditEvent
from panel.audit.services import first_break, record
from panel.options.models import Option
from worker.claim import claim_next
from worker.clock import now
from worker.enqueue import ItemRequest, JobRequest, job_enqueue
from worker.finish import Outcome, item_finish, job_cancel
from worker.joblog import cleaned
from worker.models import Attempt, Job, JobItem
from worker.reaper import reap
from worker.states import Kind, Slot, State

pytestmark = pytest.mark.django_db


def job(people: dict[str, Any], kind: Kind = Kind.BACKUP, count: int = 1, **options: Any) -> Job:
    lease, exclusive = options.pop("lease", "repository:1"), options.pop("exclusive", False)
    items = [ItemRequest(account=people["alice_account"], lease=lease, exclusive=exclusive) for _ in range(count)]
    return job_enqueue(JobRequest(kind=kind, name="n", server=people["server"], items=items, **options))


def claim(people: dict[str, Any], **options: Any) -> Any:
    return claim_next("w/1", people["server"].pk, **options)


def test_an_item_is_claimed_once(people: dict[str, Any]) -> None:
    job(people)
    assert claim(people) is not None
    assert claim(people) is None


def test_a_restore_goes_before_an_older_backup(people: dict[str, Any]) -> None:
    job(people)
    restore = job(people, Kind.RESTORE)
    assert claim(people).item.job == restore


def test_limits_count_items(people: dict[str, Any]) -> None:
    Option.objects.create(key="slots_backup", value=1)
    job(people, lease="")
    job(people, lease="")
    assert claim(people) is not None
    assert claim(people) is None


def test_a_paused_queue_starts_nothing(people: dict[str, Any]) -> None:
    Option.objects.create(key="pause_queue", value=True)
    job(people)
    assert claim(people) is None


def test_a_backup_waits_for_an_exclusive_lease_and_says_so(people: dict[str, Any]) -> None:
    job(people, Kind.CLEANUP, exclusive=True)
    first = claim(people)
    waiting = job(people)
    assert claim(people) is None
    assert waiting.items.get().waits_for == "Waits for: n"
    item_finish(first, Outcome(State.SUCCESS))
    assert claim(people).item.job == waiting


def test_items_behind_a_busy_repository_do_not_hold_up_the_others(people: dict[str, Any]) -> None:
    Option.objects.create(key="slots_backup", value=5)
    job(people, Kind.CLEANUP, exclusive=True)
    assert claim(people) is not None
    job(people, count=120)
    free = job(people, lease="repository:2")
    assert claim(people).item.job == free
    assert claim(people) is None


def test_one_account_does_not_take_all_the_places_for_restores(people: dict[str, Any]) -> None:
    mine = [job(people, kind) for kind in (Kind.RESTORE, Kind.DOWNLOAD)]
    items = [ItemRequest(account=people["mallory_account"], lease="repository:1")]
    theirs = job_enqueue(JobRequest(kind=Kind.RESTORE, name="n", server=people["server"], items=items))
    first = claim(people)
    assert first.item.job == mine[0]
    assert claim(people).item.job == theirs
    assert claim(people) is None
    assert mine[1].items.get().waits_for == "Waits for another restore or download of the same account"
    item_finish(first, Outcome(State.SUCCESS))
    assert claim(people).item.job == mine[1]


def test_a_lost_worker_gives_its_item_back_once(people: dict[str, Any]) -> None:
    run = job(people)
    for again in (State.PENDING, State.FAILED):
        assert claim(people) is not None
        Attempt.objects.filter(outcome="running").update(heartbeat_at=now() - timedelta(minutes=5))
        assert reap() == 1
        assert run.items.get().state == again
    run.refresh_from_db()
    assert (run.state, run.error_code) == (State.FAILED, "HF-WORKER-LOST")


def test_a_worker_that_was_declared_lost_cannot_finish(people: dict[str, Any]) -> None:
    run = job(people)
    old = claim(people)
    Attempt.objects.update(heartbeat_at=now() - timedelta(minutes=5))
    reap()
    assert not item_finish(old, Outcome(State.SUCCESS))
    assert run.items.get().state == State.PENDING


def test_cancel_stops_what_waits(people: dict[str, Any]) -> None:
    run = job(people, count=2)
    assert job_cancel(run, by="root")
    run.refresh_from_db()
    assert run.state == State.ABORTED
    assert not job_cancel(run, by="root")


def test_one_failed_item_makes_a_job_partial(people: dict[str, Any]) -> None:
    run = job(people, count=2)
    item_finish(claim(people), Outcome(State.SUCCESS))
    rest = claim(people)
    item_finish(rest, Outcome(State.FAILED, code="HF-X", error="It broke."))
    run.refresh_from_db()
    assert (run.state, run.error) == (State.PARTIAL, "It broke.")


def test_a_request_made_twice_is_one_job(people: dict[str, Any]) -> None:
    assert job(people, request_key="k") == job(people, request_key="k")


def schedule(people: dict[str, Any]) -> Schedule:
    values = {"name": "Nightly", "scope": "web", "retention": {"last": 3}}
    return schedule_create(
        ScheduleData(people["server"], people["alice_account"], [people["destination"]], values), actor=people["root"]
    )


def test_a_due_schedule_starts_once_however_often_the_tick_comes(people: dict[str, Any], keys: Any) -> None:
    made = schedule(people)
    Schedule.objects.filter(pk=made.pk).update(next_run_at=now() - timedelta(seconds=20))
    moment = now()
    assert len(schedules_tick(moment)) == 1
    assert schedules_tick(moment) == []


def test_backups_switched_off_start_nothing_but_run_now_works(people: dict[str, Any], keys: Any) -> None:
    made = schedule(people)
    Option.objects.create(key="backup_enabled", value=False)
    Schedule.objects.update(next_run_at=now() - timedelta(seconds=20))
    assert schedules_tick(now()) == []
    assert schedule_run(made, actor=people["root"]).state == State.PENDING


def test_a_schedules_key_is_stored_sealed(people: dict[str, Any], keys: Any) -> None:
    assert schedule(people).sealed_key.startswith("hf1:")


def test_the_audit_chain_notices_a_change(people: dict[str, Any]) -> None:
    for name in "abc":
        record(name, actor=people["root"])
    assert first_break() is None
    middle = AuditEvent.objects.get(action="b")
    AuditEvent.objects.filter(pk=middle.pk).update(subject="other")
    assert first_break() == middle.pk


def test_logs_hold_no_secrets() -> None:
    text = cleaned("password=hunter2 ftp://bob:pw1@host/ key s3cr3tvalue", ["s3cr3tvalue"])
    assert not any(secret in text for secret in ("hunter2", "pw1", "s3cr3tvalue"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time: nobody races")
def test_claimers_at_one_moment_take_each_item_once_and_keep_to_limits_and_leases(people: dict[str, Any]) -> None:
    Option.objects.create(key="slots_backup", value=3)
    for number in range(12):
        job(people, count=2, lease=f"repository:{number % 4}")
    for number in range(4):
        job(people, Kind.CLEANUP, lease=f"repository:{number}", exclusive=True)
        job(people, Kind.RESTORE, lease=f"repository:{number}")
    taken: list[int] = []
    most: list[int] = []
    together = Barrier(8)

    def claimer(_: int) -> None:
        empty = 0
        together.wait()
        while empty < 10:
            mine = claim(people)
            if mine is None:
                empty += 1
                sleep(0.01)
                continue
            taken.append(mine.item.pk)
            running = list(JobItem.objects.filter(state=State.RUNNING).values_list("slot", "lease", "exclusive"))
            most.append(sum(slot == Slot.BACKUP for slot, *_ in running))
            alone = {lease for _, lease, exclusive in running if exclusive}
            assert all(sum(lease == each for _, lease, _ in running) == 1 for each in alone), running
            assert sum(slot == Slot.RESTORE for slot, *_ in running) <= 1, "of one account"
            sleep(0.02)
            item_finish(mine, Outcome(State.SUCCESS))
        connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(claimer, range(8)))
    assert sorted(taken) == sorted(JobItem.objects.values_list("pk", flat=True))
    assert set(JobItem.objects.values_list("state", "tries")) == {(State.SUCCESS, 1)}
    assert max(most) == 3

"""A page needs as many queries in a large installation as in a small one, and never many."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backups.models import Repository, Schedule, Snapshot
from backups.services.schedules import schedule_run, schedules_tick
from destinations.models import Destination
from panel.accounts.models import Account, AccountStatus, PriorityGroup, Role, User
from panel.audit.services import record
from tests.scale.measure import pages_without_numbers
from worker.claim import claim_next
from worker.clock import now
from worker.models import Attempt, Job, JobItem, JobLogLine
from worker.states import Slot, State

pytestmark = pytest.mark.django_db
MOST = 30
"""Queries of the dearest page, the overview, which looks into every app."""
LISTS = {"/backups/history/": 18, "/backups/restore/": 18, "/backups/schedules/": 18, "/accounts/": 18, "/queue/": 15,
         "/audit/": 14, "/destinations/": 14, "/tasks/active/": 9}  # fmt: skip


def grow(people: dict[str, Any], start: int, end: int) -> None:
    """Add rows of every kind that lists show, belonging to alice in part."""
    moment, server = now(), people["server"]
    standard = people["alice_account"]
    for number in range(start, end):
        owner = User.objects.create_user(f"person{number}", role=Role.END_USER)
        mine = people["alice"] if number % 2 else owner
        account = Account.objects.create(name=f"acc{number}", server=server, home=f"/home/acc{number}", owner=mine,
                                         package=standard.package, priority=standard.priority)  # fmt: skip
        destination = Destination.objects.create(name=f"D{number}", kind="local", config={"path": f"/nowhere/{number}"})
        schedule = Schedule.objects.create(name=f"S{number}", server=server, account=account, retention={"last": 3},
                                           next_run_at=moment + timedelta(hours=number + 1))  # fmt: skip
        schedule.destinations.add(destination)
        repository = Repository.objects.create(destination=destination, path=account.uid, account=account)
        for state in (State.SUCCESS, State.FAILED, State.RUNNING, State.PENDING):
            live = state in (State.RUNNING, State.PENDING)
            subject = f"schedule:{schedule.pk}"
            job = Job.objects.create(kind="backup", name=schedule.name, subject=subject, server=server,
                                     account=account, state=state, created_at=moment, items_total=1,
                                     started_at=moment, finished_at=None if live else moment)  # fmt: skip
            item = JobItem.objects.create(job=job, account=account, server=server, slot=Slot.BACKUP, state=state,
                                          label=account.name, lease=repository.lease)  # fmt: skip
            Attempt.objects.create(item=item, number=1, worker="w/1", started_at=moment, heartbeat_at=moment)
            JobLogLine.objects.create(job=job, item=item, at=moment, text="a line")
            Snapshot.objects.create(repository=repository, snapshot_id=f"{job.pk:064x}", tree="b" * 64, account=account,
                                    schedule=schedule, job=job, scope="web", taken_at=moment)  # fmt: skip
        record("schedule.created", actor=people["root"], subject=f"schedule:{schedule.pk}")


def counted(client: Any) -> dict[str, int]:
    """Return how many queries each page takes, where there is one."""
    found: dict[str, int] = {}
    for path in pages_without_numbers():
        if client.get(path).status_code != 200:
            continue
        with CaptureQueriesContext(connection) as caught:
            client.get(path)
        found[path] = len(caught)
    return found


@pytest.mark.parametrize("who", ["root", "alice"])
def test_no_page_asks_more_of_the_database_when_there_is_more_in_it(
    who: str, people: dict[str, Any], browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("panel.web.views.broker_version", lambda: "", raising=False)
    grow(people, 0, 3)
    small = counted(browser(who))
    grow(people, 3, 14)
    large = counted(browser(who))
    assert len(small) >= 8
    assert {path: (small.get(path), many) for path, many in large.items() if many > small.get(path, 0)} == {}
    assert {path: many for path, many in large.items() if many > LISTS.get(path, MOST)} == {}


def queries_of(work: Any) -> int:
    """Return how many queries some work takes."""
    with CaptureQueriesContext(connection) as caught:
        work()
    return len(caught)


def test_a_run_of_the_entire_server_is_made_at_once_however_many_accounts_there_are(people: dict[str, Any]) -> None:
    schedule = Schedule.objects.create(name="All", server=people["server"], scope="web")
    schedule.destinations.add(people["destination"])
    schedule_run(schedule)
    few = queries_of(lambda: schedule_run(schedule, trigger="scheduled"))
    grow(people, 0, 5)
    quick = PriorityGroup.objects.create(name="Quick", backup=7, restore=8, download=9)
    Account.objects.filter(name="acc3").update(priority=quick)
    Account.objects.filter(name="acc4").update(status=AccountStatus.SUSPENDED)
    assert queries_of(lambda: schedule_run(schedule, trigger="scheduled")) == few
    job = Job.objects.latest("pk")
    repository = Repository.objects.get(path="server")
    items = list(job.items.order_by("pk"))
    assert job.items_total == 6
    assert [item.label for item in items] == ["acc0", "acc1", "acc2", "acc3", "alice", "mallory"]
    assert [item.priority for item in items] == [50, 50, 50, 7, 50, 50]
    assert {(item.lease, item.state, item.slot, item.tries) for item in items} == {
        (repository.lease, State.PENDING, Slot.BACKUP, 0)
    }
    assert items[3].account == Account.objects.get(name="acc3")
    assert items[3].spec == {"repository": repository.pk, "destination": "Local"}
    Account.objects.update(status=AccountStatus.SUSPENDED)
    assert schedule_run(schedule, trigger="scheduled").state == State.SKIPPED


def test_a_claim_takes_as_many_queries_whatever_waits(people: dict[str, Any]) -> None:
    grow(people, 0, 2)
    JobItem.objects.filter(state=State.RUNNING).update(state=State.SUCCESS)
    Attempt.objects.all().delete()
    few = queries_of(lambda: claim_next("w/1", people["server"].pk))
    grow(people, 2, 12)
    JobItem.objects.filter(state=State.RUNNING).update(state=State.SUCCESS)
    Attempt.objects.all().delete()
    claimed: list[Any] = []
    assert queries_of(lambda: claimed.append(claim_next("w/1", people["server"].pk))) <= few <= 12
    assert claimed[0] is not None


def test_a_tick_takes_as_many_queries_however_many_schedules_are_due(people: dict[str, Any]) -> None:
    def due(start: int, end: int) -> int:
        grow(people, start, end)
        Job.objects.all().update(state=State.SUCCESS)
        schedules_tick(now())
        Schedule.objects.filter(account__isnull=False).update(next_run_at=now())
        Job.objects.all().update(state=State.SUCCESS)
        began: list[Any] = []
        many = queries_of(lambda: began.extend(schedules_tick(now())))
        assert len(began) == end
        return many

    assert due(0, 2) == due(2, 9) <= 25


def test_a_schedule_that_cannot_start_keeps_no_other_from_it(
    people: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    grow(people, 0, 4)
    Job.objects.all().update(state=State.SUCCESS)
    Schedule.objects.update(next_run_at=now())
    Schedule.objects.filter(name="S2").update(zone="Nowhere/AtAll")
    assert {job.name for job in schedules_tick(now())} == {"S0", "S1", "S3"}
    assert "did not start" in caplog.text
    assert schedules_tick(now()) == []

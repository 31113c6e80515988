"""The banner, History, a job's detail with its log, and the overview."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.cache import cache

from backups.models import Repository, Schedule, Snapshot
from backups.safety import heat_map, safety_of, worst_of
from backups.selectors import overdue_schedules
from panel.core.text import moment_text
from panel.options.models import Option
from panel.web.overview import calendar, newest_trouble
from worker.causes import cause
from worker.claim import claim_next
from worker.clock import now
from worker.context import job_progress
from worker.days import KEPT_DAYS, days_tick
from worker.enqueue import ItemRequest, JobRequest, job_enqueue
from worker.finish import Outcome, item_finish
from worker.joblog import log_line
from worker.models import BackupDay, Event, Job, JobItem, JobLogLine
from worker.selectors import time_left
from worker.states import Kind, State

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    cache.clear()


def waiting(people: dict[str, Any], **options: Any) -> Job:
    account = people["alice_account"]
    request = {"kind": Kind.BACKUP, "name": "Nightly", "scope": "web", "account": account} | options
    return job_enqueue(JobRequest(server=people["server"], items=[ItemRequest(account=account)], **request))


def running(people: dict[str, Any], **options: Any) -> Any:
    waiting(people, **options)
    return claim_next("host/1", people["server"].pk)


def ended(people: dict[str, Any], state: State, outcome: Outcome | None = None, **options: Any) -> Job:
    claim = running(people, **options)
    log_line(claim.item.job, claim.item, "started by worker host/1, try 1")
    item_finish(claim, outcome or Outcome(state, {"files_new": 1208, "data_added": 3_100_000}))
    return Job.objects.get(pk=claim.item.job_id)


def text_of(answer: Any) -> str:
    return str(answer.content.decode())


def test_the_banner_tells_kind_name_status_progress_speed_and_time_left(people: dict[str, Any], browser: Any) -> None:
    """BAN-01 to BAN-06."""
    job = running(people).item.job
    Job.objects.filter(pk=job.pk).update(
        bytes_done=38_000_000, bytes_total=100_000_000, speed=500_000, started_at=now() - timedelta(minutes=1)
    )
    page = text_of(browser("alice").get("/tasks/active/"))
    for part in (
        "Backup · started",
        "Nightly",
        "Web",
        "Running",
        "38 %",
        "38.0 MB of 100 MB",
        "500 KB/s",
        "2 min",
        "Cancel",
    ):
        assert part in page, part
    assert "Nightly" not in text_of(browser("mallory").get("/tasks/active/"))


def test_nothing_is_announced_while_backups_are_switched_off(people: dict[str, Any], browser: Any) -> None:
    Schedule.objects.create(name="Soon", server=people["server"], next_run_at=now() + timedelta(hours=1))
    client = browser("root")
    assert "Next: Soon" in text_of(client.get("/tasks/active/")) and "Next run:" in text_of(client.get("/"))
    Option.objects.create(key="backup_enabled", value=False)
    page = text_of(client.get("/"))
    assert "Next: Soon" not in text_of(client.get("/tasks/active/")) + page and "Next run:" not in page


def test_the_banner_stands_in_every_page_from_the_first_byte(people: dict[str, Any], browser: Any) -> None:
    running(people)
    for address in ("/", "/backups/schedules/", "/backups/history/", "/me/"):
        assert 'id="task-' in text_of(browser("alice").get(address)), address


def test_an_unchanged_banner_is_answered_with_nothing(people: dict[str, Any], browser: Any) -> None:
    running(people)
    client = browser("alice")
    first = client.get("/tasks/active/")
    again = client.get("/tasks/active/", {"have": first["X-Mark"]})
    assert again.status_code == 204
    Job.objects.update(bytes_done=5_000_000)
    assert client.get("/tasks/active/", {"have": first["X-Mark"]}).status_code == 200


def test_a_change_of_state_wakes_the_lists(people: dict[str, Any], browser: Any) -> None:
    waiting(people)
    client = browser("alice")
    assert "HX-Trigger" not in client.get("/tasks/active/")
    assert client.get("/tasks/active/", {"states": "old"})["HX-Trigger"] == "tasks-changed"


def test_time_left_waits_until_there_is_something_to_go_by(people: dict[str, Any]) -> None:
    job = Job(started_at=now() - timedelta(seconds=10), bytes_done=1, bytes_total=10_000, speed=10)
    assert time_left(job) == ""
    job.started_at = now() - timedelta(seconds=20)
    assert time_left(job) == "17 min"
    job.bytes_total = 100
    assert time_left(job) == "under 1 min"
    job.speed = 0
    assert time_left(job) == ""


def test_how_much_is_to_come_is_unknown_as_long_as_one_item_does_not_know(people: dict[str, Any]) -> None:
    first = running(people).item
    second = JobItem.objects.create(job=first.job, server=first.server, label="new", slot=first.slot)
    JobItem.objects.filter(pk=first.pk).update(bytes_done=900, bytes_total=1_000)
    JobItem.objects.filter(pk=second.pk).update(bytes_done=450_000)
    job_progress(first.job_id)
    first.job.refresh_from_db()
    assert (first.job.bytes_done, first.job.bytes_total) == (450_900, 0)
    JobItem.objects.filter(pk=second.pk).update(state=State.SUCCESS)
    job_progress(first.job_id)
    first.job.refresh_from_db()
    assert first.job.bytes_total == 451_000


def test_a_run_that_was_stopped_says_what_is_backed_up_all_the_same(people: dict[str, Any], browser: Any) -> None:
    first = running(people).item
    JobItem.objects.create(job=first.job, server=first.server, label="x", slot=first.slot, state=State.SUCCESS)
    stopped = {"state": State.ABORTED, "error": "Stopped on request.", "error_code": "HF-CANCELED"}
    Job.objects.filter(pk=first.job_id).update(items_total=2, **stopped)
    JobItem.objects.filter(pk=first.pk).update(**stopped)
    page = text_of(browser("root").get(f"/backups/history/{first.job_id}/"))
    assert "was stopped: 1 of 2 parts are backed up" in page
    assert "1 stopped" in page and "1 aborted" not in page


def test_a_day_without_upkeep_to_do_is_no_news(people: dict[str, Any], browser: Any) -> None:
    """Somebody who looks for it finds it."""
    fields = {"server": people["server"], "kind": Kind.CLEANUP, "name": "Cleanup", "items": []}
    job_enqueue(JobRequest(**fields, trigger="scheduled"))
    client, shown = browser("root"), 'data-title="Cleanup"'
    hidden = text_of(client.get("/backups/history/"))
    asked = text_of(client.get("/backups/history/?state=skipped"))
    job_enqueue(JobRequest(**fields))
    assert (hidden.count(shown), asked.count(shown)) == (0, 1)
    assert text_of(client.get("/backups/history/")).count(shown) == 1


def test_cancel_from_the_banner_answers_with_the_banner(people: dict[str, Any], browser: Any) -> None:
    job = running(people).item.job
    answer = browser("alice").post(f"/backups/history/{job.pk}/cancel/", headers={"HX-Request": "true"})
    assert "Stopping" in text_of(answer)
    job.refresh_from_db()
    assert job.cancel_at is not None
    assert browser("mallory").post(f"/backups/history/{job.pk}/cancel/").status_code == 404


@pytest.fixture
def jobs(people: dict[str, Any]) -> dict[str, Job]:
    """One job of each result, days apart."""
    found: dict[str, Job] = {}
    server, alice = people["server"], people["alice_account"]
    for number, state in enumerate(State):
        at = datetime.fromisoformat("2026-11-10T23:30:00+00:00") + timedelta(days=number)
        live = state in (State.PENDING, State.RUNNING)
        found[state] = Job.objects.create(
            kind="restore" if state == "aborted" else "backup", name=f"Job {state.value}", state=state, server=server,
            account=None if state == "skipped" else alice, created_at=at, started_at=None if state == "pending" else at,
            finished_at=None if live else at + timedelta(minutes=5), scope="web",
        )  # fmt: skip
    return found


def names(answer: Any) -> set[str]:
    return {job.name.removeprefix("Job ") for job in answer.context["jobs"]}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=failed", {"failed"}),
        ("state=live", {"pending", "running"}),
        ("state=bad", {"warning", "partial", "failed", "aborted"}),
        ("kind=restore", {"aborted"}),
        ("schedule=job par", {"partial"}),
        ("account=alice&state=skipped", set()),
        ("from=2026-11-13&to=2026-11-13", {"warning"}),
        ("state=nonsense&kind=nonsense&from=tomorrow", {state.value for state in State}),
    ],
)
def test_history_filters(people: dict[str, Any], browser: Any, jobs: Any, query: str, expected: set[str]) -> None:
    assert names(browser("root").get(f"/backups/history/?{query}")) == expected


def test_days_of_the_filter_are_the_readers_own(people: dict[str, Any], browser: Any, jobs: Any) -> None:
    """23:35 UTC is the next day in Berlin."""
    people["root"].zone = "Europe/Berlin"
    people["root"].save()
    assert names(browser("root").get("/backups/history/?from=2026-11-14&to=2026-11-14")) == {"warning"}


def test_a_customer_sees_the_jobs_of_his_account(people: dict[str, Any], browser: Any, jobs: Any) -> None:
    assert names(browser("alice").get("/backups/history/")) == {state.value for state in State} - {"skipped"}
    assert names(browser("mallory").get("/backups/history/")) == set()


def test_every_result_has_its_word_and_colour(people: dict[str, Any], browser: Any, jobs: Any) -> None:
    """STA-01 to STA-04, ICO-01, ICO-02."""
    page = text_of(browser("root").get("/backups/history/"))
    for state in State:
        assert f"hf-badge hf-{state.value}" in page
    assert "hf-kind-backup" in page and "hf-kind-restore" in page


def test_pages_go_both_ways_without_gaps(people: dict[str, Any], browser: Any) -> None:
    Job.objects.bulk_create(
        Job(kind="backup", name=f"{n}", server=people["server"], created_at=now(), state="success", finished_at=now())
        for n in range(120)
    )
    client, seen, address = browser("root"), [], "?state=success"
    while address:
        answer = client.get(f"/backups/history/{address}")
        seen += [int(job.name) for job in answer.context["jobs"]]
        address = f"?{answer.context['older']}" if answer.context["older"] else ""
    assert seen == list(range(119, -1, -1))
    back = client.get(f"/backups/history/?{answer.context['newer']}")
    assert [int(job.name) for job in back.context["jobs"]] == list(range(69, 19, -1))


def test_a_page_of_history_asks_a_fixed_number_of_questions(
    people: dict[str, Any], browser: Any, django_assert_max_num_queries: Any
) -> None:
    for _ in range(5):
        ended(people, State.SUCCESS)
    client = browser("root")
    with django_assert_max_num_queries(25):
        client.get("/backups/history/")


def test_old_entries_go_and_snapshots_stay(people: dict[str, Any], browser: Any) -> None:
    """HIS-07."""
    old, new = ended(people, State.SUCCESS), ended(people, State.FAILED)
    Job.objects.filter(pk=old.pk).update(finished_at=now() - timedelta(days=31))
    repository = Repository.objects.create(destination=people["destination"], path="a")
    kept = Snapshot.objects.create(
        repository=repository, job=old, snapshot_id="1" * 64, tree="2" * 64, scope="web", taken_at=now()
    )
    browser("root").post("/backups/history/clear/")
    assert list(Job.objects.values_list("pk", flat=True)) == [new.pk]
    kept.refresh_from_db()
    assert kept.job is None


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (State.SUCCESS, None),
        (State.WARNING, Outcome(State.WARNING, {}, "HF-SOURCE", "2 items could not be read.", "See the log.", 2)),
        (State.FAILED, Outcome(State.FAILED, {}, "HF-STORE-FULL", "No space at /mnt/nas.", "Add space.")),
        (State.ABORTED, Outcome(State.ABORTED, {}, "HF-CANCELED", "Stopped on request.")),
    ],
)
def test_the_log_is_kept_whatever_the_result(
    people: dict[str, Any], browser: Any, state: State, outcome: Outcome | None
) -> None:
    """DET-03 to DET-07."""
    job = ended(people, state, outcome)
    page = text_of(browser("root").get(f"/backups/history/{job.pk}/"))
    file = text_of(browser("root").get(f"/backups/history/{job.pk}/log/"))
    assert "started by worker host/1" in page and "started by worker host/1" in file
    for statistic in ("New files", "Changed files", "Unmodified files", "Data transferred", "Total duration"):
        assert statistic in page
    if outcome is not None:
        for part in ("What happened", outcome.error, "Why", cause(outcome.code), outcome.code):
            assert part in page, part
        assert outcome.guidance in page


def test_customers_read_no_host_and_no_path_of_the_storage(people: dict[str, Any], browser: Any) -> None:
    job = ended(
        people, State.FAILED, Outcome(State.FAILED, {}, "HF-STORE-LOGIN", "bob@nas.internal:21 said no", "Ask.")
    )
    JobLogLine.objects.create(
        job=job, at=now(), level="error", text="stopped: bob@nas.internal said no (HF-STORE-LOGIN)"
    )
    for address in (f"/backups/history/{job.pk}/", f"/backups/history/{job.pk}/log/"):
        page = text_of(browser("alice").get(address))
        assert "nas.internal" not in page and "host/1" not in page, address
        assert "refused the user name or the password" in page
        assert "nas.internal" in text_of(browser("root").get(address))
    assert "Data transferred" not in text_of(browser("alice").get(f"/backups/history/{job.pk}/"))


def test_the_live_log_brings_only_new_lines_and_stops_asking_at_the_end(people: dict[str, Any], browser: Any) -> None:
    claim = running(people)
    job, client = claim.item.job, browser("alice")
    first = log_line(job, claim.item, "the first line")
    page = text_of(client.get(f"/backups/history/{job.pk}/"))
    assert f"?after={first.pk}" in page and 'hx-trigger="every 2s"' in page
    second = log_line(job, claim.item, "the second line")
    news = text_of(client.get(f"/backups/history/{job.pk}/?after={first.pk}"))
    assert "the second line" in news and "the first line" not in news
    assert f"?after={second.pk}" in news and 'hx-swap-oob="beforeend:#job-lines"' in news
    item_finish(claim, Outcome(State.SUCCESS, {"files_new": 4}))
    last = text_of(client.get(f"/backups/history/{job.pk}/?after={second.pk}"))
    assert "every 2s" not in last and "New files" in last and "hf-success" in last


def test_a_failed_backup_says_what_is_not_lost(people: dict[str, Any], browser: Any) -> None:
    repository = Repository.objects.create(destination=people["destination"], path="a", account=people["alice_account"])
    Snapshot.objects.create(
        repository=repository, account=people["alice_account"], snapshot_id="1" * 64, tree="2" * 64, scope="web",
        taken_at=now() - timedelta(hours=3),
    )  # fmt: skip
    job = ended(people, State.FAILED, Outcome(State.FAILED, {}, "HF-STORE-FULL", "Full.", "Add space."))
    assert "Not lost: the newest good backup" in text_of(browser("alice").get(f"/backups/history/{job.pk}/"))


def test_the_whole_detail_is_a_page_and_its_inside_is_for_the_drawer(people: dict[str, Any], browser: Any) -> None:
    job = ended(people, State.SUCCESS)
    whole = text_of(browser("alice").get(f"/backups/history/{job.pk}/"))
    inside = text_of(browser("alice").get(f"/backups/history/{job.pk}/", headers={"HX-Request": "true"}))
    assert "<html" in whole and "<html" not in inside and "Log of this run" in inside


def snapshot(people: dict[str, Any], who: str, **fields: Any) -> Snapshot:
    account = people[f"{who}_account"]
    repository, _ = Repository.objects.get_or_create(
        destination=people["destination"], path=account.uid, defaults={"account": account}
    )
    values = {"taken_at": now() - timedelta(hours=2), "scope": "web", "tree": "2" * 64} | fields
    number = Snapshot.objects.count()
    return Snapshot.objects.create(repository=repository, account=account, snapshot_id=f"{number:064x}", **values)


def test_the_overview_answers_whether_everybody_is_safe(people: dict[str, Any], browser: Any) -> None:
    snapshot(people, "alice", proven_at=now())
    snapshot(people, "mallory", damaged_at=now())
    seen = safety_of(people["root"], now())
    assert (seen["total"], seen["safe"], seen["unsafe"], seen["proven"]) == (2, 1, 1, 1)
    assert [account.name for account in seen["urgent"]] == ["mallory", "alice"]
    snapshot(people, "mallory")
    seen = safety_of(people["root"], now())
    assert (seen["safe"], seen["day"], seen["waiting"]) == (2, 2, [])
    Snapshot.objects.filter(account=people["alice_account"]).update(kind="safety")
    assert safety_of(people["root"], now())["safe"] == 1, "what a restore replaced brings no account back"
    listed = browser("root").get("/accounts/").context["page"]
    assert {row.name: row.last_good is None for row in listed} == {"alice": True, "mallory": False}
    Snapshot.objects.filter(account=people["alice_account"]).update(kind="scheduled")
    # Nobody proved mallory's yet: it comes first though both are safe.
    assert [(account.name, account.last_proven is None) for account in seen["urgent"]] == [
        ("mallory", True), ("alice", False),
    ]  # fmt: skip
    Snapshot.objects.filter(account=people["mallory_account"], damaged_at=None).delete()
    page = text_of(browser("root").get("/"))
    assert "1 of 2 accounts is safe. 1 needs you." in page and "damaged" in page
    snapshot(people, "alice", kind="safety")
    mine = browser("alice").get("/")
    assert "Your account is safe." in text_of(mine)
    assert [point.kind for point in mine.context["points"]] == ["scheduled"], "what a restore replaced is no backup"
    assert "alice" not in text_of(browser("mallory").get("/"))


def test_a_schedule_nobody_looked_after_is_overdue_without_the_scheduler(people: dict[str, Any]) -> None:
    late = Schedule.objects.create(
        name="late", server=people["server"], next_run_at=now() - timedelta(hours=3), account=people["alice_account"]
    )
    Schedule.objects.create(name="in grace", server=people["server"], next_run_at=now() - timedelta(hours=1))
    Schedule.objects.create(
        name="off", server=people["server"], next_run_at=now() - timedelta(days=3), is_enabled=False
    )
    assert overdue_schedules(people["root"], now()) == [late]
    assert overdue_schedules(people["mallory"], now()) == []


def test_the_heat_map_shows_the_worst_of_each_day_in_the_readers_zone(people: dict[str, Any], browser: Any) -> None:
    today = datetime.fromisoformat("2026-11-21T12:00:00+00:00")
    for hours, state in ((13, "success"), (13, "failed"), (12.75, "success"), (100, "partial")):
        at = today - timedelta(hours=hours)
        Job.objects.create(kind="backup", name="n", server=people["server"], state=state, created_at=at, finished_at=at)
    Event.objects.create(kind="schedule.overdue", at=today - timedelta(days=30))
    days = heat_map(people["root"], today, ZoneInfo("Europe/Berlin"))
    assert {day: worst_of(results) for day, results in days.items()} == {
        date(2026, 11, 21): "failed", date(2026, 11, 17): "partial", date(2026, 10, 22): "overdue",
    }  # fmt: skip
    utc = heat_map(people["root"], today, ZoneInfo("UTC"))
    assert worst_of(utc[date(2026, 11, 20)]) == "failed"
    rows = calendar(days, date(2026, 11, 21))
    assert [len(row["cells"]) for row in rows] == [18] * 7
    cell = next(cell for cell in rows[5]["cells"] if cell["today"])
    assert (cell["state"], cell["text"]) == ("failed", "Sat, Nov 21: something failed")
    assert newest_trouble(days, date(2026, 11, 21)).startswith("Today, 1 of 3 runs failed. Before that, Nov 17")
    assert heat_map(people["mallory"], today, ZoneInfo("UTC")) == {}
    for who in ("mallory", "alice"):
        row = Schedule.objects.create(name="s", server=people["server"], account=people[f"{who}_account"])
        Event.objects.create(kind="schedule.overdue", at=today - timedelta(days=30), subject=f"schedule:{row.pk}")
    assert heat_map(people["mallory"], today, ZoneInfo("UTC")) == {date(2026, 10, 22): {"overdue": 1}}


def test_customers_see_how_runs_of_the_entire_server_ended_for_their_account(people: dict[str, Any]) -> None:
    today, utc = datetime.fromisoformat("2026-11-21T12:00:00+00:00"), ZoneInfo("UTC")
    job = Job.objects.create(kind="backup", name="all", server=people["server"], created_at=today, finished_at=today)
    for who, state, hours in (("alice", "success", 1), ("mallory", "failed", 1), ("alice", "warning", 30)):
        JobItem.objects.create(
            job=job, server=people["server"], account=people[f"{who}_account"], slot=1, state=state,
            finished_at=today - timedelta(hours=hours),
        )  # fmt: skip
    assert heat_map(people["alice"], today, utc) == {
        date(2026, 11, 21): {"success": 1}, date(2026, 11, 20): {"warning": 1},
    }  # fmt: skip
    people["alice_account"].package.__class__.objects.update(server_backups=False)
    cache.clear()
    assert heat_map(people["alice"], today, utc) == {}


def test_the_overview_asks_a_fixed_number_of_questions(
    people: dict[str, Any], browser: Any, django_assert_max_num_queries: Any
) -> None:
    for _ in range(3):
        ended(people, State.FAILED, Outcome(State.FAILED, {}, "HF-X", "It broke."), subject="schedule:1")
    client = browser("root")
    with django_assert_max_num_queries(60):
        client.get("/")


def test_a_new_installation_is_led_step_by_step(people: dict[str, Any], browser: Any) -> None:
    page = text_of(browser("root").get("/"))
    assert "First steps" in page and "New schedule" in page
    assert "First steps" not in text_of(browser("alice").get("/"))


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("2026-11-21T03:00:00", "Today, 3:00 AM"), ("2026-11-20T15:05:00", "Yesterday, 3:05 PM"),
        ("2026-11-19T03:00:00", "Thursday, 3:00 AM"), ("2026-11-14T03:00:00", "Nov 14, 3:00 AM"),
        ("2025-01-08T03:00:00", "Jan 8, 2025"), ("2026-11-22T00:00:00", "Tomorrow, 12:00 AM"),
    ],
)  # fmt: skip
def test_times_in_words(moment: str, words: str) -> None:
    utc = ZoneInfo("UTC")
    at, today = datetime.fromisoformat(moment + "+00:00"), datetime.fromisoformat("2026-11-21T12:00:00+00:00")
    assert moment_text(at, today, utc) == words


def test_times_follow_the_setting_and_carry_the_exact_one(people: dict[str, Any], browser: Any) -> None:
    job = ended(people, State.SUCCESS)
    at = datetime.fromisoformat("2026-03-05T15:07:09+00:00")
    Job.objects.filter(pk=job.pk).update(started_at=at, finished_at=at)
    address = f"/backups/history/{job.pk}/"
    page = text_of(browser("alice").get(address))
    assert "Mar 5, 3:07 PM" in page and "2026-03-05 15:07:09 UTC" in page
    Option.objects.create(key="time_format", value="24")
    assert "Mar 5, 15:07" in text_of(browser("alice").get(address))
    people["alice"].clock = "12"
    people["alice"].save()
    assert "Mar 5, 3:07 PM" in text_of(browser("alice").get(address)), "a person's own choice goes before the setting"


def test_days_that_are_over_are_read_from_their_sums(people: dict[str, Any], django_assert_num_queries: Any) -> None:
    moment = datetime.fromisoformat("2026-11-21T12:00:00+00:00")
    zones = [ZoneInfo(name) for name in ("UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati")]

    def job(minutes: float, state: str = "success") -> None:
        at = moment - timedelta(minutes=minutes)
        Job.objects.create(kind="backup", name="n", server=people["server"], state=state, created_at=at, finished_at=at)

    for number, state in enumerate(["success", "failed", "partial", "warning"] * 12):
        job(60 * number * 1.31, state)
        job(24 * 60 * number * 2.9 + 7, state)
    Event.objects.create(kind="schedule.overdue", at=moment - timedelta(days=30))
    counted = [heat_map(people["root"], moment, zone) for zone in zones]
    while days_tick(moment):
        pass
    assert BackupDay.objects.count() == KEPT_DAYS
    assert [heat_map(people["root"], moment, zone) for zone in zones] == counted
    Job.objects.filter(finished_at__lt=moment - timedelta(days=3)).delete()
    assert [heat_map(people["root"], moment, zone) for zone in zones] == counted, "from the sums"
    with django_assert_num_queries(3):
        heat_map(people["root"], moment, zones[1])


def test_sums_of_days_go_with_the_jobs_and_with_a_clock_that_ran_ahead(people: dict[str, Any], browser: Any) -> None:
    days_tick(now() + timedelta(days=20))
    at = now() - timedelta(hours=1)
    Job.objects.create(kind="backup", name="n", server=people["server"], state="failed", created_at=at, finished_at=at)
    days_tick(now())
    assert BackupDay.objects.latest("day").day < now().date()
    assert sum(results.get("failed", 0) for results in heat_map(people["root"], now(), ZoneInfo("UTC")).values()) == 1
    old = now() - timedelta(days=100)
    Option.objects.create(key="history_days", value=50)
    Job.objects.update(finished_at=old)
    BackupDay.objects.all().delete()
    while days_tick(now()):
        pass
    assert heat_map(people["root"], now(), ZoneInfo("UTC")) == {old.date(): {"failed": 1}}
    browser("root").post("/backups/history/clear/")
    assert heat_map(people["root"], now(), ZoneInfo("UTC")) == {}


def test_the_system_page_says_when_no_worker_answers(people: dict[str, Any], browser: Any) -> None:
    page = text_of(browser("root").get("/system/"))
    assert "Worker</span>" in page and "Does not answer" in page and "Backups and restores wait." in page

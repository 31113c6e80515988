"""Backups → Schedules: form, previews, list, deletion, what happens after downtime."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from backups.models import Repository, Schedule, Snapshot
from backups.services.schedules import ScheduleData, schedule_create, schedule_run, schedules_tick
from backups.timing import Timing, next_run, next_runs, sentence, spoken
from destinations.models import Destination
from panel.audit.models import AuditEvent
from panel.core.errors import Invalid, NotAllowed
from panel.options.models import Option
from worker.clock import now
from worker.models import Event, Job
from worker.states import State

pytestmark = pytest.mark.django_db


def filled(people: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A form as a browser sends it."""
    return {
        "name": "Nightly full", "mode": "server", "account": "", "scope": "full", "excludes": "*.log\n\n cache/ \n",
        "frequency": "daily", "every": "1", "hour": "3", "minute": "15", "weekday": "0", "day": "1", "cron": "",
        "zone": "Europe/Berlin", "catch_up": "once", "overlap": "skip", "jitter": "0", "window": "0", "grace": "120",
        "priority": "", "keep_mode": "count", "keep": "7", "destinations": [str(people["destination"].pk)],
    } | changes  # fmt: skip


def made(people: dict[str, Any], **values: Any) -> Schedule:
    data = ScheduleData(
        people["server"], people["alice_account"], [people["destination"]], {"name": "S", "scope": "web"} | values
    )
    return schedule_create(data, actor=people["root"])


def test_an_entire_server_schedule_is_stored_as_it_was_filled_in(
    people: dict[str, Any], browser: Any, keys: Any
) -> None:
    answer = browser("root").post("/backups/schedules/new/", filled(people))
    assert (answer.status_code, answer["Location"]) == (302, "/backups/schedules/")
    row = Schedule.objects.get()
    assert (row.account, row.scope, row.hour, row.minute, row.zone) == (None, "full", 3, 15, "Europe/Berlin")
    assert (row.retention, row.excludes, row.priority) == ({"last": 7}, ["*.log", "cache/"], None)
    assert row.next_run_at == next_run(Timing("daily", hour=3, minute=15, zone="Europe/Berlin"), now())


def test_both_modes_have_their_repository(people: dict[str, Any], browser: Any, keys: Any) -> None:
    """MOD-01, MOD-02: server, or the account's immutable id."""
    alice = people["alice_account"]
    browser("root").post("/backups/schedules/new/", filled(people, run="on"))
    browser("root").post("/backups/schedules/new/", filled(people, mode="account", account=alice.uid, run="on"))
    assert set(Repository.objects.values_list("path", "account")) == {("server", None), (alice.uid, alice.pk)}
    assert sorted(Job.objects.values_list("items_total", flat=True)) == [1, 2]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": ""}, "name", "required"),
        ({"mode": "account"}, "account", "Choose an account"),
        ({"zone": "Mars/Base"}, "zone", "no such time zone"),
        ({"frequency": "custom", "cron": "every night"}, "cron", "five fields"),
        ({"frequency": "custom", "cron": "61 * * * *"}, "cron", "not a rule"),
        ({"frequency": "custom", "cron": "*/2 * * * *"}, "cron", "5 minutes apart"),
        ({"frequency": "custom", "cron": "0 0 30 2 *"}, "cron", "not a rule"),
        ({"frequency": "monthly", "day": "31"}, "day", "28"),
        ({"keep": ""}, "keep", "how many"),
        ({"keep_mode": "rules"}, "keep_last", "at least one"),
        ({"destinations": []}, "destinations", "at least one"),
        ({"destinations": ["999"]}, "destinations", "valid choice"),
        ({"scope": "db"}, "scope", "valid choice"),
        ({"excludes": "x" * 401}, "excludes", "400 letters"),
    ],
)
def test_what_cannot_be_is_said_at_its_field_and_nothing_is_stored(
    people: dict[str, Any], browser: Any, changes: dict[str, Any], field: str, words: str
) -> None:
    answer = browser("root").post("/backups/schedules/new/", filled(people, **changes))
    assert answer.status_code == 422
    assert words in " ".join(answer.context["form"].errors[field])
    assert not Schedule.objects.exists()


def test_changing_keeps_the_account_and_moves_the_next_run(people: dict[str, Any], browser: Any, keys: Any) -> None:
    row, alice = made(people), people["alice_account"]
    changed = filled(
        people, mode="account", account=alice.uid, scope="config", name="Other", frequency="hourly", every="6",
        keep_mode="rules", keep_daily="7", keep_weekly="4", priority="10", excludes="",
    )  # fmt: skip
    assert browser("root").post(f"/backups/schedules/{row.pk}/edit/", changed).status_code == 302
    row.refresh_from_db()
    assert (row.name, row.scope, row.every, row.priority) == ("Other", "config", 6, 10)
    assert (row.retention, row.excludes) == ({"daily": 7, "weekly": 4}, [])
    job = schedule_run(row, actor=people["root"])
    assert job.items.get().priority == 10
    moved = browser("root").post(f"/backups/schedules/{row.pk}/edit/", changed | {"mode": "server"})
    assert moved.status_code == 422


def test_a_customer_makes_schedules_for_his_own_account_only(people: dict[str, Any], browser: Any, keys: Any) -> None:
    own, other = people["alice_account"], people["mallory_account"]
    page = browser("alice").get("/backups/schedules/new/").content.decode()
    assert "Entire server" not in page and other.uid not in page
    for changes in ({"mode": "server"}, {"mode": "account", "account": other.uid}):
        assert browser("alice").post("/backups/schedules/new/", filled(people, **changes)).status_code == 422
    assert (
        browser("alice").post("/backups/schedules/new/", filled(people, mode="account", account=own.uid)).status_code
        == 302
    )
    assert Schedule.objects.get().account == own


def test_storage_of_an_account_takes_only_its_own_schedules(people: dict[str, Any], keys: Any) -> None:
    """SCR-01: off by default, by package."""
    alice = people["alice_account"]
    own = Destination.objects.create(name="Own", kind="local", config={"path": "/x"}, account=alice)
    with pytest.raises(NotAllowed, match="no storage of its own"):
        schedule_create(ScheduleData(people["server"], alice, [own], {"name": "a"}), actor=people["alice"])
    alice.package.custom_storage = True
    alice.package.save()
    assert schedule_create(ScheduleData(people["server"], alice, [own], {"name": "b"}), actor=people["alice"])
    with pytest.raises(Invalid, match="belongs to one account"):
        schedule_create(ScheduleData(people["server"], None, [own], {"name": "c"}), actor=people["root"])


def test_the_preview_shows_sentence_runs_in_both_zones_and_the_change_of_the_clock(
    people: dict[str, Any], browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime.fromisoformat("2026-03-27T12:00:00+00:00")
    monkeypatch.setattr("backups.views.previews.now", lambda: at)
    page = browser("root").post("/backups/schedules/preview/", filled(people)).content.decode()
    assert "Every day at 3:15 AM, back up everything of all 2 accounts to 1 destination" in page
    assert "Sat, Mar 28, 3:15 AM" in page and "02:15 UTC" in page
    assert "Sun, Mar 29, 3:15 AM" in page and "01:15 UTC" in page
    assert "once on both change days" in page
    Option.objects.create(key="time_format", value="24")
    assert "Sat, Mar 28, 03:15" in browser("root").post("/backups/schedules/preview/", filled(people)).content.decode()


def test_before_a_first_run_the_preview_estimates_bytes_and_requests_of_measured_accounts(
    people: dict[str, Any], browser: Any
) -> None:
    account = people["alice_account"]
    account.disk_bytes = 500_000_000
    account.save()
    far = Destination.objects.create(name="Far away", kind="sftp", config={})
    form = filled(people, destinations=[str(people["destination"].pk), str(far.pk)])
    page = browser("root").post("/backups/schedules/preview/", form).content.decode()
    assert "First run, about" in page and "Far away" in page
    assert "200 MB to 500 MB, 3,980 requests" in page
    assert "1 account is not measured yet and is not counted" in page
    theirs = Destination.objects.create(name="Mallory store", kind="s3", config={}, account=people["mallory_account"])
    mine = filled(people, mode="account", account=account.uid, destinations=[str(theirs.pk)])
    assert "Mallory" not in browser("alice").post("/backups/schedules/preview/", mine).content.decode()


@pytest.mark.parametrize("junk", [{"hour": "x"}, {"zone": "../etc"}, {"frequency": "?"}, {"keep": "-1"}, {"day": "99"}])
def test_a_preview_of_nonsense_is_a_sentence_and_no_error(
    people: dict[str, Any], browser: Any, junk: dict[str, str]
) -> None:
    assert browser("root").post("/backups/schedules/preview/", filled(people, **junk)).status_code == 200


def test_the_preview_of_another_persons_schedule_is_not_shown(people: dict[str, Any], browser: Any, keys: Any) -> None:
    row = made(people)
    repository = Repository.objects.create(destination=people["destination"], path="a", account=people["alice_account"])
    Snapshot.objects.create(
        repository=repository, schedule=row, account=row.account, snapshot_id="1" * 64, tree="2" * 64, scope="web",
        taken_at=now() - timedelta(hours=1),
    )  # fmt: skip
    form = filled(people, mode="account", schedule=str(row.pk))
    seen = {
        who: browser(who).post("/backups/schedules/preview/", form).content.decode() for who in ("alice", "mallory")
    }
    assert "1 snapshot of alice" in seen["alice"]
    assert "alice" not in seen["mallory"]


def due(schedule: Schedule, ago: timedelta) -> None:
    Schedule.objects.filter(pk=schedule.pk).update(next_run_at=now() - ago)


@pytest.mark.parametrize(
    ("catch_up", "states", "overdue"),
    [("once", ["pending"], False), ("skip", ["skipped"], False), ("report", [], True)],
)
def test_after_a_day_of_downtime_each_schedule_does_as_it_says(
    people: dict[str, Any], keys: Any, catch_up: str, states: list[str], overdue: bool
) -> None:
    row = made(people, catch_up=catch_up, frequency="hourly")
    due(row, timedelta(days=1))
    schedules_tick(now())
    schedules_tick(now())
    row.refresh_from_db()
    assert list(Job.objects.values_list("state", flat=True)) == states, "once, however many were missed"
    assert (row.overdue_since is not None) == overdue
    assert Event.objects.filter(kind="schedule.overdue").exists() == overdue
    assert row.next_run_at is not None and row.next_run_at > now()


def test_a_run_that_starts_takes_overdue_away(people: dict[str, Any], keys: Any) -> None:
    row = made(people, catch_up="report")
    Schedule.objects.filter(pk=row.pk).update(overdue_since=now())
    due(row, timedelta(seconds=10))
    schedules_tick(now())
    row.refresh_from_db()
    assert row.overdue_since is None


def test_by_hand_means_never_by_itself(people: dict[str, Any], keys: Any) -> None:
    row = made(people, frequency="manual")
    assert row.next_run_at is None
    assert schedules_tick(now() + timedelta(days=400)) == []
    assert schedule_run(row, actor=people["root"]).state == State.PENDING


def test_a_disabled_schedule_runs_only_by_hand_and_run_all_leaves_it_out(
    people: dict[str, Any], browser: Any, keys: Any
) -> None:
    row, other = made(people, name="off"), made(people, name="on")
    client = browser("root")
    client.post(f"/backups/schedules/{row.pk}/toggle/")
    client.post("/backups/schedules/run/")
    assert list(Job.objects.values_list("name", flat=True)) == ["on"]
    client.post(f"/backups/schedules/{row.pk}/run/")
    assert Job.objects.filter(name="off").count() == 1
    assert Schedule.objects.get(pk=other.pk).is_enabled


@pytest.fixture
def with_snapshots(people: dict[str, Any], keys: Any) -> Schedule:
    row = made(people, name="Nightly")
    repository = Repository.objects.create(destination=people["destination"], path="a", account=row.account)
    for number, (kind, locked) in enumerate([("scheduled", None), ("manual", None), ("safety", None), ("manual", 9)]):
        Snapshot.objects.create(
            repository=repository, schedule=row, account=row.account, snapshot_id=f"{number:064x}", tree="2" * 64,
            scope="web", taken_at=now(), kind=kind, locked_until=now() + timedelta(days=locked) if locked else None,
        )  # fmt: skip
    return row


def test_deleting_keeps_the_snapshots_and_can_be_undone(
    people: dict[str, Any], browser: Any, with_snapshots: Schedule
) -> None:
    """SCR-14."""
    client, address = browser("alice"), f"/backups/schedules/{with_snapshots.pk}"
    assert "Keep its 3 snapshots" in client.get(f"{address}/delete/").content.decode()
    listed = client.post(f"{address}/delete/", {"snapshots": "keep"}, follow=True).content.decode()
    assert client.get(f"{address}/edit/").status_code == 404
    assert Snapshot.objects.filter(marked_at=None).count() == 4
    client.post(f"{address}/undo/")
    with_snapshots.refresh_from_db()
    assert with_snapshots.deleted_at is None and not with_snapshots.is_enabled
    assert f'action="{address}/undo/?on"' in listed, "the Undo of the message switches it on again, as it was"


def test_the_undo_of_a_deletion_leaves_a_schedule_as_it_was(
    people: dict[str, Any], browser: Any, with_snapshots: Schedule
) -> None:
    client, address = browser("alice"), f"/backups/schedules/{with_snapshots.pk}"
    client.post(f"{address}/delete/", {"snapshots": "keep"})
    client.post(f"{address}/undo/?on")
    with_snapshots.refresh_from_db()
    assert with_snapshots.is_enabled and with_snapshots.next_run_at > now()
    client.post(f"{address}/toggle/", follow=True)
    assert "/undo/?on" not in client.post(f"{address}/delete/", {"snapshots": "keep"}, follow=True).content.decode()


def test_deleting_snapshots_too_asks_for_name_and_password_marks_and_can_be_undone(
    people: dict[str, Any], browser: Any, with_snapshots: Schedule
) -> None:
    client, address = browser("alice"), f"/backups/schedules/{with_snapshots.pk}"
    whole = {"snapshots": "delete", "typed": "Nightly", "password": "a long password"}
    for wrong in ({"typed": "nightly"}, {"password": "guess"}):
        assert client.post(f"{address}/delete/", whole | wrong).status_code == 422
    assert Snapshot.objects.filter(marked_at=None).count() == 4
    client.post(f"{address}/delete/", whole)
    assert set(Snapshot.objects.exclude(marked_at=None).values_list("kind", "marked_why")) == {
        ("scheduled", "schedule"), ("manual", "schedule"),
    }  # fmt: skip
    client.post(f"{address}/undo/")
    assert Snapshot.objects.filter(marked_at=None).count() == 4
    assert AuditEvent.objects.filter(action="schedule.deleted").count() == 1


def test_the_list_pages_and_finds(people: dict[str, Any], browser: Any) -> None:
    rows = [Schedule(name=f"Nightly {n:03}", server=people["server"], key_saved_at=now()) for n in range(60)]
    Schedule.objects.bulk_create(rows)
    client = browser("root")
    first = client.get("/backups/schedules/").content.decode()
    assert "Nightly 049" in first and "Nightly 050" not in first and "60 schedules" in first
    last = Schedule.objects.get(name="Nightly 049").pk
    assert f"after={last}" in first
    assert "Nightly 059" in client.get(f"/backups/schedules/?after={last}").content.decode()
    found = client.get("/backups/schedules/?q=nightly 007").content.decode()
    assert "Nightly 007" in found and "Nightly 008" not in found
    assert client.get("/backups/schedules/?after=abc&q=%00").status_code == 200


def test_the_list_asks_the_same_number_of_questions_for_one_and_for_fifty(
    people: dict[str, Any], browser: Any, django_assert_max_num_queries: Any
) -> None:
    rows = [Schedule(name=str(n), server=people["server"], account=people["alice_account"]) for n in range(50)]
    Schedule.objects.bulk_create(rows)
    client = browser("root")
    with django_assert_max_num_queries(30):
        client.get("/backups/schedules/")


def test_a_run_that_needs_a_key_says_so_in_the_list(people: dict[str, Any], browser: Any, keys: Any) -> None:
    row = made(people)
    job = schedule_run(row, actor=people["root"])
    Job.objects.filter(pk=job.pk).update(state=State.FAILED, error_code="HF-REPO-KEY", finished_at=now())
    assert "Waits for its key" in browser("root").get("/backups/schedules/").content.decode()


@pytest.mark.parametrize(
    ("timing", "short", "long"),
    [
        (Timing("hourly", minute=15), "Hourly, at :15", "Every hour at :15"),
        (Timing("hourly", minute=5, every=6), "Every 6 hours, at :05", "Every 6 hours at :05"),
        (Timing("weekly", hour=9, weekday=5), "Sat, 9:00 AM", "Every Saturday at 9:00 AM"),
        (Timing("monthly", hour=14, day=28), "Day 28, 2:00 PM", "On day 28 of every month at 2:00 PM"),
        (Timing("custom", custom="30 2 * * 1-5"), "Custom: 30 2 * * 1-5", "By the rule 30 2 * * 1-5"),
        (Timing("manual"), "By hand", "When you start it by hand"),
    ],
)
def test_timings_in_words(timing: Timing, short: str, long: str) -> None:
    assert (sentence(timing), spoken(timing)) == (short, long)


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC"]
)
@pytest.mark.parametrize("minutes", [0, 30, 90, 150, 210])
def test_every_day_of_a_year_has_exactly_one_run(zone: str, minutes: int) -> None:
    """Both change days included."""
    start = datetime.fromisoformat("2026-01-01T12:00:00+00:00")
    runs = next_runs(Timing("daily", hour=minutes // 60, minute=minutes % 60, zone=zone), start, 366)
    days = [run.astimezone(ZoneInfo(zone)).date() for run in runs]
    assert len(set(days)) == 366 and (days[-1] - days[0]).days == 365


@pytest.mark.parametrize("field", [{"hour": 24}, {"minute": 60}, {"day": 29}, {"every": 5}, {"zone": "Nowhere"}])
def test_an_impossible_timing_is_refused_with_a_sentence(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        Timing("daily", **field)

"""What a schedule keeps: marks after a run, and the preview that says so before."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from backups.models import Repository, Schedule, Snapshot
from backups.retention import apply_retention, preview, verdicts
from backups.services.upkeep import removable
from panel.core.errors import Invalid
from worker.clock import now

pytestmark = pytest.mark.django_db


@pytest.fixture
def schedule(people: dict[str, Any]) -> Schedule:
    """Alice's nightly schedule, with ten snapshots, one a day."""
    made = Schedule.objects.create(
        name="Nightly", server=people["server"], account=people["alice_account"], retention={"last": 3}
    )
    repository = Repository.objects.create(destination=people["destination"], path="alice")
    for days in range(10):
        snapshot(made, repository, now() - timedelta(days=days, minutes=5))
    return made


def snapshot(schedule: Schedule, repository: Repository, taken_at: datetime, **fields: Any) -> Snapshot:
    number = Snapshot.objects.count()
    values = {"account": schedule.account, "scope": "web", "tree": "t" * 64} | fields
    return Snapshot.objects.create(
        repository=repository, schedule=schedule, snapshot_id=f"{number:064x}", taken_at=taken_at, **values
    )


def marked() -> list[int]:
    """How many days old the marked ones are."""
    found = Snapshot.objects.exclude(marked_at=None).order_by("-taken_at")
    return [(now() - row.taken_at).days for row in found]


def test_a_count_keeps_the_newest_and_marks_the_rest(schedule: Schedule) -> None:
    assert apply_retention(schedule).marked == 7
    assert marked() == [3, 4, 5, 6, 7, 8, 9]
    assert apply_retention(schedule).marked == 0


def test_longer_rules_bring_marked_ones_back_but_never_those_a_person_deleted(schedule: Schedule) -> None:
    oldest = Snapshot.objects.order_by("taken_at").first()
    assert oldest is not None
    Snapshot.objects.filter(pk=oldest.pk).update(marked_at=now(), marked_why="person")
    apply_retention(schedule)
    schedule.retention = {"daily": 30}
    assert apply_retention(schedule).kept_again == 6
    assert marked() == [9]


def test_damaged_locked_and_future_ones_do_not_count_and_stay(schedule: Schedule) -> None:
    newest, second, third = Snapshot.objects.order_by("-taken_at")[:3]
    Snapshot.objects.filter(pk=newest.pk).update(damaged_at=now())
    Snapshot.objects.filter(pk=second.pk).update(taken_at=now() + timedelta(days=400))
    Snapshot.objects.filter(pk=third.pk).update(locked_until=now() + timedelta(days=9))
    apply_retention(schedule)
    assert marked() == [6, 7, 8, 9]


def test_manual_runs_count_apart_and_other_kinds_are_not_touched(schedule: Schedule) -> None:
    repository = Repository.objects.get()
    for kind in ("manual", "safety", "on-demand"):
        for hours in range(5):
            snapshot(schedule, repository, now() - timedelta(hours=hours + 1), kind=kind)
    apply_retention(schedule)
    gone = Snapshot.objects.exclude(marked_at=None)
    assert {kind: gone.filter(kind=kind).count() for kind in ("scheduled", "manual", "safety", "on-demand")} == {
        "scheduled": 7, "manual": 2, "safety": 0, "on-demand": 0,
    }  # fmt: skip


def test_accounts_count_apart(schedule: Schedule, people: dict[str, Any]) -> None:
    repository = Repository.objects.get()
    snapshot(schedule, repository, now() - timedelta(days=90), account=people["mallory_account"])
    apply_retention(schedule)
    assert Snapshot.objects.filter(account=people["mallory_account"], marked_at=None).exists()


def test_rules_that_say_nothing_keep_everything(schedule: Schedule) -> None:
    schedule.retention = {}
    assert apply_retention(schedule).marked == 0


@pytest.mark.parametrize("rules", [{"last": -5}, {"daily": "many"}])
def test_rules_that_make_no_sense_change_nothing(schedule: Schedule, rules: dict[str, Any]) -> None:
    schedule.retention = rules
    with pytest.raises(Invalid):
        apply_retention(schedule)
    assert marked() == []


def test_reasons_are_numbered_by_rule(schedule: Schedule) -> None:
    found = verdicts(Snapshot.objects.all(), {"last": 1, "daily": 2}, "UTC", now())
    assert [verdict.why for verdict in found[:3]] == ["last 1 · daily 1", "daily 2", ""]


def test_days_are_those_of_the_schedules_zone(schedule: Schedule) -> None:
    """23:30 and 00:30 in Berlin are two days there and one in UTC."""
    first, second = Snapshot.objects.all()[:2]
    first.taken_at = datetime.fromisoformat("2026-11-20T23:30:00+00:00")
    second.taken_at = datetime.fromisoformat("2026-11-20T22:30:00+00:00")

    def stay(zone: str) -> int:
        return sum(verdict.stays for verdict in verdicts([first, second], {"daily": 1, "weekly": 0}, zone, now()))

    moment_of = verdicts([first, second], {"daily": 2}, "Europe/Berlin", now())
    assert stay("UTC") == 1
    assert [verdict.why for verdict in moment_of] == ["daily 1", "daily 2"]
    assert [v.why for v in verdicts([first, second], {"daily": 2}, "UTC", now())] == ["daily 1", "daily 2, the oldest"]


def test_the_preview_is_what_then_happens(schedule: Schedule, people: dict[str, Any]) -> None:
    rules = {"last": 2, "weekly": 1}
    seen = preview(schedule, rules, like={"zone": "UTC"}, viewer=people["root"])
    assert seen is not None
    schedule.retention = rules
    apply_retention(schedule)
    assert {v.snapshot.pk for v in seen.verdicts if not v.stays} == set(
        Snapshot.objects.exclude(marked_at=None).values_list("pk", flat=True)
    )
    assert (seen.stay + seen.go, seen.account) == (10, "alice")


def test_a_new_schedule_is_previewed_on_the_most_similar_one_its_viewer_sees(
    schedule: Schedule, people: dict[str, Any]
) -> None:
    like = {"scope": "web", "frequency": "daily", "zone": "UTC"}
    seen = preview(None, {"last": 1}, like=like, viewer=people["alice"])
    assert seen is not None and seen.schedule == schedule
    assert preview(None, {"last": 1}, like=like, viewer=people["mallory"]) is None


def test_a_safety_snapshot_does_not_let_the_last_whole_one_go(schedule: Schedule) -> None:
    Snapshot.objects.update(marked_at=now() - timedelta(days=400), marked_why="retention")
    repository = Repository.objects.get()
    snapshot(schedule, repository, now(), kind="safety")
    assert not removable().exists()
    snapshot(schedule, repository, now())
    assert removable().count() == 10

"""When schedules run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backups.timing import Timing, decide, next_run, next_runs


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_time_that_comes_twice_runs_once() -> None:
    timing = Timing("daily", hour=2, minute=30, zone="Europe/Berlin")
    runs = next_runs(timing, at("2026-10-24T12:00:00"), 2)
    assert runs[1] - runs[0] > timedelta(hours=20)
    assert [run.date().day for run in runs] == [25, 26]


def test_a_time_that_is_skipped_still_runs_that_day() -> None:
    timing = Timing("daily", hour=2, minute=30, zone="Europe/Berlin")
    assert next_run(timing, at("2026-03-28T12:00:00")) == at("2026-03-29T01:00:00")


def test_weekly_counts_from_monday_and_monthly_by_day() -> None:
    assert next_run(Timing("weekly", hour=3, weekday=0), at("2026-11-21T00:00:00")) == at("2026-11-23T03:00:00")
    assert next_run(Timing("monthly", hour=3, day=28), at("2026-11-28T03:00:00")) == at("2026-12-28T03:00:00")


def test_a_missed_run_is_caught_up_once_or_reported() -> None:
    timing, due, now = Timing("daily", hour=3), at("2026-11-18T03:00:00"), at("2026-11-21T10:00:00")
    caught = decide(timing, due, now, catch_up=True, tolerance=timedelta(minutes=5))
    assert (caught.start, caught.missed, caught.next_run_at) == (True, False, at("2026-11-22T03:00:00"))
    left = decide(timing, due, now, catch_up=False, tolerance=timedelta(minutes=5))
    assert (left.start, left.missed) == (False, True)


def test_a_closed_window_is_not_caught_up() -> None:
    timing = Timing("daily", hour=3, window=120)
    late = decide(timing, at("2026-11-21T03:00:00"), at("2026-11-21T06:00:00"), catch_up=True, tolerance=timedelta(0))
    assert late.missed


@given(st.integers(0, 60), st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)))
def test_jitter_never_skips_or_repeats_a_run(jitter: int, start: datetime) -> None:
    runs = next_runs(Timing("hourly", minute=7, jitter=jitter, seed="4"), start.replace(tzinfo=UTC), 6)
    assert runs == sorted(set(runs))
    assert runs[0] > start.replace(tzinfo=UTC)

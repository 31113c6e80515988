"""What a policy keeps, in golden tables, in properties, and beside stock restic."""

import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine.errors import BadRequest, Corrupt
from backups.engine.keys import KdfParams
from backups.engine.layout import SNAPSHOTS
from backups.engine.repository import Repository
from backups.engine.retention import UNLIMITED, Decision, Duration, Policy, apply, parse_count, parse_duration
from backups.engine.snapshot import Snapshot, encode_snapshot, group_by
from backups.engine.times import TimeFormatter, parse_time
from destinations.storage.local import LocalStore
from tests.peers import PASSWORD, Restic

NOW = parse_time("2024-06-15T12:00:00Z")
DAY = 86_400 * 10**9


def history(*times: str, **fields: Any) -> list[Snapshot]:
    """Snapshots taken at these times; a bare date means its noon."""
    texts = [text if "T" in text else f"{text}T12:00:00Z" for text in times]
    return [Snapshot(id=f"{n:064x}", time=text, tree="a" * 64, **fields) for n, text in enumerate(texts)]


def kept(decisions: list[Decision]) -> list[str]:
    """The kept times and why, one line each."""
    return [f"{d.snapshot.time[:16]} {'; '.join(d.reasons)}" for d in decisions if d.keep]


WEEKS = history(
    "2024-06-14T23:30:00Z", "2024-06-14T08:00:00Z", "2024-06-13T23:30:00Z", "2024-06-10", "2024-06-09", "2024-06-03",
    "2024-05-31", "2024-05-01", "2023-12-31", "2023-01-02", "2022-12-31",
)  # fmt: skip

GOLDEN: list[tuple[Policy, list[str]]] = [
    (Policy(last=2), ["2024-06-14T23:30 last snapshot", "2024-06-14T08:00 last snapshot"]),
    (
        Policy(daily=3),
        ["2024-06-14T23:30 daily snapshot", "2024-06-13T23:30 daily snapshot", "2024-06-10T12:00 daily snapshot"],
    ),
    (
        Policy(hourly=2, daily=2),
        [
            "2024-06-14T23:30 hourly snapshot; daily snapshot",
            "2024-06-14T08:00 hourly snapshot",
            "2024-06-13T23:30 daily snapshot",
        ],
    ),
    (
        Policy(weekly=3),
        ["2024-06-14T23:30 weekly snapshot", "2024-06-09T12:00 weekly snapshot", "2024-05-31T12:00 weekly snapshot"],
    ),
    (
        Policy(monthly=12),
        [
            "2024-06-14T23:30 monthly snapshot",
            "2024-05-31T12:00 monthly snapshot",
            "2023-12-31T12:00 monthly snapshot",
            "2023-01-02T12:00 monthly snapshot",
            "2022-12-31T12:00 monthly snapshot",
        ],
    ),
    (
        Policy(yearly=UNLIMITED, last=1),
        [
            "2024-06-14T23:30 last snapshot; yearly snapshot",
            "2023-12-31T12:00 yearly snapshot",
            "2022-12-31T12:00 yearly snapshot",
        ],
    ),
    (
        Policy(within=Duration(days=5)),
        ["2024-06-14T23:30 within 5d", "2024-06-14T08:00 within 5d", "2024-06-13T23:30 within 5d",
         "2024-06-10T12:00 within 5d"],
    ),
    (
        Policy(within_daily=Duration(days=4, hours=12)),
        ["2024-06-14T23:30 daily within 4d12h", "2024-06-13T23:30 daily within 4d12h",
         "2024-06-10T12:00 daily within 4d12h"],
    ),
    (
        Policy(within_weekly=Duration(months=1), within_yearly=Duration(years=2)),
        [
            "2024-06-14T23:30 weekly within 1m; yearly within 2y",
            "2024-06-09T12:00 weekly within 1m",
            "2024-05-31T12:00 weekly within 1m",
            "2023-12-31T12:00 yearly within 2y",
            "2022-12-31T12:00 yearly within 2y",
        ],
    ),
    (
        Policy(within_monthly=Duration(days=11, hours=13), within_hourly=Duration(hours=1)),
        ["2024-06-14T23:30 hourly within 1h; monthly within 11d13h"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "lines"), GOLDEN, ids=range(len(GOLDEN)))
def test_a_policy_keeps_what_the_table_says(policy: Policy, lines: list[str]) -> None:
    assert kept(apply(WEEKS, policy, NOW)) == lines


def test_the_oldest_snapshot_stays_while_the_rule_has_counts_left() -> None:
    snapshots = history("2024-06-14T10:00:00Z", "2024-06-14T09:00:00Z", "2024-06-14T08:00:00Z")
    assert kept(apply(snapshots, Policy(daily=2), NOW)) == [
        "2024-06-14T10:00 daily snapshot",
        "2024-06-14T08:00 oldest daily snapshot",
    ]
    assert kept(apply(snapshots, Policy(daily=1), NOW)) == ["2024-06-14T10:00 daily snapshot"]
    assert kept(apply(snapshots, Policy(within_daily=Duration(days=1)), NOW))[1:] == [
        "2024-06-14T08:00 oldest daily within 1d"
    ]


def test_the_wall_clock_of_the_backup_decides_about_days() -> None:
    snapshots = history("2024-06-14T00:30:00+02:00", "2024-06-13T23:30:00+02:00", "2024-06-13T20:00:00Z")
    assert kept(apply(snapshots, Policy(daily=9), NOW)) == [
        "2024-06-14T00:30 daily snapshot",
        "2024-06-13T23:30 daily snapshot",
        "2024-06-13T20:00 oldest daily snapshot",
    ]


def test_iso_weeks_cross_the_year() -> None:
    snapshots = history("2025-01-01", "2024-12-30", "2024-12-29")
    assert kept(apply(snapshots, Policy(weekly=5), parse_time("2026-01-01T00:00:00Z"))) == [
        "2025-01-01T12:00 weekly snapshot",
        "2024-12-29T12:00 weekly snapshot",
    ]


def test_the_same_week_of_another_year_is_another_week() -> None:
    snapshots = history("2024-03-06", "2024-03-05", "2023-03-08")
    assert kept(apply(snapshots, Policy(weekly=5), NOW)) == [
        "2024-03-06T12:00 weekly snapshot",
        "2023-03-08T12:00 weekly snapshot",
    ]


def test_a_span_ends_before_the_instant_it_reaches() -> None:
    snapshots = history("2024-06-10", "2024-06-09T12:00:00Z", "2024-06-01")
    for policy in (Policy(within=Duration(days=1)), Policy(within_daily=Duration(days=1))):
        assert [d.keep for d in apply(snapshots, policy, NOW)] == [True, False, False]


def test_tags_keep_whatever_else_goes() -> None:
    plain, one, both = history("2024-06-12", "2024-06-11", "2024-06-10")
    tagged = [
        plain,
        Snapshot(id=one.id, time=one.time, tree=one.tree, tags=["a"]),
        Snapshot(id=both.id, time=both.time, tree=both.tree, tags=["a", "b"]),
    ]
    policy = Policy(last=1, tags=[("a", "b"), ("b",)])
    assert kept(apply(tagged, policy, NOW)) == [
        "2024-06-12T12:00 last snapshot",
        "2024-06-10T12:00 has tags [a, b]; has tags [b]",
    ]
    assert kept(apply(tagged, Policy(tags=[("",)]), NOW)) == ["2024-06-12T12:00 has tags []"]


def test_a_span_counts_from_the_newest_snapshot_that_is_not_in_the_future() -> None:
    snapshots = history("2030-01-01", "2024-06-10", "2024-06-09T12:00:00.000000001Z", "2024-06-09")
    assert kept(apply(snapshots, Policy(within=Duration(days=1)), NOW)) == [
        "2030-01-01T12:00 within 1d",
        "2024-06-10T12:00 within 1d",
        "2024-06-09T12:00 within 1d",
    ]


def test_a_group_that_lies_in_the_future_is_within_any_span() -> None:
    snapshots = history("2030-01-02", "2030-01-01")
    assert all(decision.keep for decision in apply(snapshots, Policy(within=Duration(hours=1)), NOW))


def test_the_newest_fraction_of_a_second_counts() -> None:
    snapshots = history("2024-06-10T12:00:00.5Z", "2024-06-09T12:00:00.5Z", "2024-06-09T12:00:00.500000001Z")
    decisions = apply(snapshots, Policy(within=Duration(days=1)), NOW)
    assert [decision.snapshot.id[-1] for decision in decisions if decision.keep] == ["0", "2"]


def test_an_empty_policy_keeps_everything() -> None:
    assert all(decision.keep and not decision.reasons for decision in apply(WEEKS, Policy(), NOW))
    assert Policy(within=parse_duration("0d")).empty


def test_a_group_is_never_emptied() -> None:
    with pytest.raises(BadRequest, match="every snapshot of a group"):
        apply(WEEKS, Policy(tags=[("keep",)]), NOW)
    assert apply([], Policy(last=1), NOW) == []


@pytest.mark.parametrize(
    ("text", "span", "written"),
    [
        ("1y5m7d2h", Duration(1, 5, 7, 2), "1y5m7d2h"),
        ("2h7d", Duration(days=7, hours=2), "7d2h"),
        (" 36h ", Duration(hours=36), "36h"),
        ("1d2d", Duration(days=2), "2d"),
        ("", Duration(), ""),
        ("0y", Duration(), ""),
    ],
)
def test_a_duration_is_read_and_written(text: str, span: Duration, written: str) -> None:
    assert parse_duration(text) == span
    assert str(span) == written


@pytest.mark.parametrize("text", ["5", "d", "5w", "-1d", "1 d", "1d,", "1D", "٣d", "9999999999d", "1d\n2h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_duration(text)


def test_a_day_that_a_month_lacks_counts_into_the_next() -> None:
    assert Duration(months=1).before("2023-03-31T01:02:03Z") == parse_time("2023-03-03T01:02:03Z")
    assert Duration(years=1).before("2024-02-29T00:00:00Z") == parse_time("2023-03-01T00:00:00Z")
    assert Duration(months=14, hours=5).before("2024-01-15T01:00:00+02:00") == parse_time("2022-11-14T20:00:00+02:00")
    assert Duration(years=900_000_000).before("2024-01-15T01:00:00Z") < 0


def test_counts_are_numbers_or_unlimited() -> None:
    assert parse_count("unlimited") == UNLIMITED
    assert parse_count("12") == 12
    for text in ("-1", "", "1.5", "²", "99999999999", "all"):
        with pytest.raises(BadRequest):
            parse_count(text)


@pytest.mark.parametrize("wrong", [{"last": -2}, {"yearly": -5}, {"within": Duration(days=-1)}])
def test_negative_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        Policy(**wrong)


def test_a_snapshot_whose_time_no_calendar_knows_is_refused() -> None:
    with pytest.raises(Corrupt):
        apply(history("0000-01-01T00:00:00Z"), Policy(daily=1), NOW)


FORMATTERS = [TimeFormatter("UTC"), TimeFormatter("Asia/Kolkata"), TimeFormatter("America/New_York")]
instants = st.integers(NOW - 1500 * DAY, NOW + 2 * DAY).map(lambda ns: ns // 10**9 * 10**9)
counts = st.integers(-1, 8)
spans = st.builds(Duration, st.integers(0, 1), st.integers(0, 3), st.integers(0, 9), st.integers(0, 30))
policies = st.builds(
    Policy, last=counts, hourly=counts, daily=counts, weekly=counts, monthly=counts, yearly=counts, within=spans,
    within_hourly=spans, within_daily=spans, within_weekly=spans, within_monthly=spans, within_yearly=spans,
)  # fmt: skip
histories = st.lists(st.tuples(instants, st.sampled_from(FORMATTERS)), unique_by=lambda pair: pair[0], max_size=30).map(
    lambda pairs: history(*(formatter.format(instant) for instant, formatter in pairs))
)


@given(histories, policies)
def test_the_newest_is_never_dropped_and_nothing_is_lost_from_the_list(
    snapshots: list[Snapshot], policy: Policy
) -> None:
    decisions = apply(snapshots, policy, NOW)
    assert sorted(d.snapshot.id for d in decisions) == sorted(s.id for s in snapshots)
    assert [d.snapshot.instant for d in decisions] == sorted((s.instant for s in snapshots), reverse=True)
    if decisions:
        assert decisions[0].keep
    assert all(d.keep == bool(d.reasons) for d in decisions) or policy.empty


def counting(rule: str, number: int) -> Policy:
    """A policy of one counted rule."""
    fields: dict[str, Any] = {rule: number}
    return Policy(**fields)


@given(histories, st.integers(1, 10), st.sampled_from(["hourly", "daily", "weekly", "monthly", "yearly"]))
def test_a_counted_rule_keeps_at_most_its_count_and_a_larger_count_never_keeps_less(
    snapshots: list[Snapshot], count: int, rule: str
) -> None:
    few, unlimited = (
        {d.snapshot.id for d in apply(snapshots, counting(rule, number), NOW) if d.keep}
        for number in (count, UNLIMITED)
    )
    assert len(few) <= count
    assert few <= unlimited


@given(histories, policies)
def test_applying_a_policy_again_removes_nothing_more(snapshots: list[Snapshot], policy: Policy) -> None:
    survivors = [d.snapshot for d in apply(snapshots, policy, NOW) if d.keep]
    assert all(d.keep for d in apply(survivors, policy, NOW))


@given(histories, policies, st.randoms())
def test_the_order_of_the_list_does_not_matter(snapshots: list[Snapshot], policy: Policy, rng: random.Random) -> None:
    shuffled = list(snapshots)
    rng.shuffle(shuffled)
    assert apply(shuffled, policy, NOW) == apply(snapshots, policy, NOW)


def options(policy: Policy) -> list[str]:
    """The policy as options of stock restic."""
    words: list[str] = []
    for rule in ("last", "hourly", "daily", "weekly", "monthly", "yearly"):
        if count := getattr(policy, rule):
            words += [f"--keep-{rule}", "unlimited" if count == UNLIMITED else str(count)]
    for rule in ("within", "within_hourly", "within_daily", "within_weekly", "within_monthly", "within_yearly"):
        if span := getattr(policy, rule):
            words += [f"--keep-{rule.replace('_', '-')}", str(span)]
    return words + [word for tags in policy.tags for word in ("--keep-tag", ",".join(tags))]


def random_history(rng: random.Random, now: int) -> list[Snapshot]:
    """Sixty snapshots of two hosts: clustered, in several offsets, some tagged, a few in the future."""
    made = {}
    for _ in range(60):
        span = rng.choice([1, 20, 400, 1500])
        instant = now - int(rng.random() * span * DAY) if rng.random() > 0.05 else now + int(rng.random() * 9 * DAY)
        fields: dict[str, Any] = {
            "hostname": rng.choice("ab"),
            "paths": ["/x"],
            "tags": rng.choice([[], [], ["t"], ["u", "t"]]),
        }
        made[instant] = Snapshot(time=rng.choice(FORMATTERS).format(instant), tree="a" * 64, **fields)
    return list(made.values())


def random_policy(rng: random.Random) -> Policy:
    """A policy of a few rules."""
    rules = rng.sample(["last", "hourly", "daily", "weekly", "monthly", "yearly"], rng.randint(1, 3))
    chosen: dict[str, Any] = {rule: rng.choice([-1, 1, 2, 5, 12, 40]) for rule in rules}
    for rule in rng.sample(["", "_hourly", "_daily", "_weekly", "_monthly", "_yearly"], rng.randint(0, 2)):
        chosen[f"within{rule}"] = Duration(rng.randint(0, 1), rng.randint(0, 5), rng.randint(0, 40), rng.randint(0, 40))
    return Policy(**chosen, tags=rng.choice([(), (("t",),), (("t", "u"), ("v",))]))


def test_stock_restic_decides_the_same_for_the_same_reasons(newest_restic: Restic, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "repository")
    repository = Repository.create(store, PASSWORD, params=KdfParams(1024, 8, 1))
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    now = time.time_ns()
    for snapshot in random_history(rng, now):
        repository.save_object(SNAPSHOTS, encode_snapshot(snapshot))
    snapshots = repository.snapshots()
    for _ in range(8):
        policy = random_policy(rng)
        stock = newest_restic.json(
            tmp_path / "repository", "forget", "--dry-run", "--no-cache", *options(policy), env={"TZ": "UTC"}
        )
        theirs = {
            group["host"]: [(reason["snapshot"]["time"], reason["matches"]) for reason in group["reasons"]]
            for group in stock
        }
        ours = {
            key.hostname: [(d.snapshot.time, list(d.reasons)) for d in apply(group, policy, now) if d.keep]
            for key, group in group_by(snapshots).items()
        }
        assert ours == theirs, f"seed {seed}: {options(policy)}"

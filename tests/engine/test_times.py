"""Instants are written as Go writes them and read back to the nanosecond."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine.errors import BadRequest, Corrupt
from backups.engine.times import TimeFormatter, clock_of, offset_text, parse_time, zone_of

ZONES = [
    "UTC",
    "America/New_York",
    "Asia/Kolkata",
    "Europe/Amsterdam",
    "Africa/Monrovia",
    "Europe/London",
    "Asia/Kathmandu",
]
FORMATTERS = {zone: TimeFormatter(zone) for zone in ZONES}
SECOND = 1_000_000_000


def instant(year: int, month: int = 1, day: int = 1, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    """Nanoseconds of a UTC time of the proleptic calendar, for any year."""
    cycles, in_cycle = divmod(year, 400)
    moment = datetime(in_cycle + 400, month, day, hour, minute, second, tzinfo=UTC)
    days = (moment - datetime(1970, 1, 1, tzinfo=UTC)).days + (cycles - 1) * 146_097
    return (days * 86_400 + hour * 3600 + minute * 60 + second) * SECOND


@pytest.fixture
def process_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("zone", "when", "text"),
    [
        ("UTC", 0, "1970-01-01T00:00:00Z"),
        ("UTC", 1, "1970-01-01T00:00:00.000000001Z"),
        ("UTC", 123_456_780, "1970-01-01T00:00:00.12345678Z"),
        ("UTC", 500_000_000, "1970-01-01T00:00:00.5Z"),
        ("UTC", -1, "1969-12-31T23:59:59.999999999Z"),
        ("Europe/London", instant(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05Z"),
        ("Europe/London", instant(2024, 7, 2, 3, 4, 5), "2024-07-02T04:04:05+01:00"),
        ("Asia/Kolkata", instant(2024, 7, 2, 20), "2024-07-03T01:30:00+05:30"),
        ("America/New_York", instant(2024, 3, 10, 6, 59, 59), "2024-03-10T01:59:59-05:00"),
        ("America/New_York", instant(2024, 3, 10, 7), "2024-03-10T03:00:00-04:00"),
        ("Africa/Monrovia", instant(1971), "1970-12-31T23:15:30-00:44"),
        ("America/New_York", instant(1800), "1799-12-31T19:03:58-04:56"),
        ("America/New_York", instant(-5), "0000-12-31T19:03:58-04:56"),
        ("UTC", instant(-1, 2, 28), "0000-02-28T00:00:00Z"),
        ("UTC", instant(-3999, 3, 1), "0000-03-01T00:00:00Z"),
        ("UTC", instant(0), "0000-01-01T00:00:00Z"),
        ("UTC", instant(9999, 12, 31, 23, 59, 59), "9999-12-31T23:59:59Z"),
        ("UTC", instant(12_000, 2, 29, 1, 2, 3), "9999-03-01T01:02:03Z"),
        ("Europe/Amsterdam", instant(12_345, 7, 1), "9999-07-01T02:00:00+02:00"),
        ("Europe/Amsterdam", instant(9950, 7, 1), "9950-07-01T02:00:00+02:00"),
    ],
)
def test_an_instant_is_written_in_its_zone(zone: str, when: int, text: str) -> None:
    assert TimeFormatter(zone).format(when) == text


@given(st.sampled_from(ZONES[1:]), st.integers(-5 * 10**9, 6 * 10**9), st.integers(0, SECOND - 1))
def test_the_text_agrees_with_the_zone_database(zone: str, seconds: int, nanoseconds: int) -> None:
    text = FORMATTERS[zone].format(seconds * SECOND + nanoseconds)
    moment = datetime.fromtimestamp(seconds, ZoneInfo(zone))
    assert text[:19] == moment.replace(tzinfo=None).isoformat()
    offset = moment.utcoffset() or timedelta()
    cut_to_minutes = int(offset / timedelta(minutes=1))
    assert zone_of(text) == cut_to_minutes * 60


@given(st.sampled_from(["UTC", "Asia/Kolkata", "Asia/Kathmandu"]), st.integers(instant(1990), instant(9999)))
def test_a_written_instant_reads_back_exactly(zone: str, when: int) -> None:
    assert parse_time(FORMATTERS[zone].format(when)) == when


def test_an_offset_of_less_than_a_minute_is_written_as_plus_zero() -> None:
    assert offset_text(-30) == offset_text(59) == "+00:00"
    assert offset_text(-90) == "-00:01"
    assert offset_text(0) == "Z"


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("Asia/Kolkata", "1970-01-01T05:30:00+05:30"),
        (":Asia/Kolkata", "1970-01-01T05:30:00+05:30"),
        ("/usr/share/zoneinfo/Asia/Kolkata", "1970-01-01T05:30:00+05:30"),
        ("", "1970-01-01T00:00:00Z"),
        ("CET-1CEST", "1970-01-01T00:00:00Z"),
        ("No/Such_Zone", "1970-01-01T00:00:00Z"),
    ],
)
def test_the_zone_of_the_process_is_resolved_as_go_does(
    process_zone: pytest.MonkeyPatch, setting: str, text: str
) -> None:
    process_zone.setenv("TZ", setting)
    time.tzset()
    assert TimeFormatter().format(0) == text


def test_without_a_setting_the_zone_of_the_system_counts(process_zone: pytest.MonkeyPatch) -> None:
    process_zone.delenv("TZ", raising=False)
    time.tzset()
    local = datetime.fromtimestamp(0).astimezone()
    assert datetime.fromisoformat(TimeFormatter().format(0)) == local


def test_a_zone_that_does_not_exist_is_refused() -> None:
    for zone in ("Mars/Olympus", "../etc/passwd", "", "a\0b"):
        with pytest.raises(BadRequest):
            TimeFormatter(zone)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T19:00:00-05:00", 0),
        ("1970-01-01T00:00:00+00:00", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1970-01-01T00:00:00.1Z", 100_000_000),
        ("1970-01-01T00:00:00.123456789Z", 123_456_789),
        ("1970-01-01T00:00:00.1234567899999Z", 123_456_789),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("0000-02-29T00:00:00Z", instant(0, 2, 29)),
        ("0001-01-01T00:00:00Z", instant(1)),
        ("9999-12-31T23:59:59.999999999Z", instant(10_000) - 1),
    ],
)
def test_any_rfc_3339_text_is_read(text: str, when: int) -> None:
    assert parse_time(text) == when


@given(st.datetimes(timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))))
def test_reading_agrees_with_datetime(moment: datetime) -> None:
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    assert parse_time(moment.isoformat()) == seconds
    assert clock_of(moment.isoformat()) == moment.replace(tzinfo=None, microsecond=0)


@pytest.mark.parametrize(
    "text",
    [
        "", "Z", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01T00:00:00z", "1970-01-01t00:00:00Z",
        "1970-01-01 00:00:00Z", "1970-13-01T00:00:00Z", "1970-02-29T00:00:00Z", "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z", "1970-01-01T00:00:60Z", "1970-01-01T00:00:00.Z", "1970-01-01T00:00:00,5Z",
        "1970-01-01T00:00:00.5", "1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00+00:60", "1970-01-01T00:00:00+0000",
        "1970-01-01T00:00:00ZZ", "1970-01-01T00:00:00.x5Z", "1970-01-01T00:00:00.-5Z", "10000-01-01T00:00:00Z",
        "1970-01-01T00:00:0²Z", "1970-01-01T00:00:00.²Z",
        "\u0661\u0669\u0667\u0660-01-01T00:00:00Z", "1970-01-01T00:00:00+\u06601:00",
        "+970-01-01T00:00:00Z", "1970-1-01T00:00:000Z", "1970-01-01T 1:00:00Z",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    for _ in range(2):  # the second time from the caches
        with pytest.raises(Corrupt):
            parse_time(text)


@given(st.text(max_size=40) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[.0-9]{0,3}[Z+][0-9:]{0,5}"))
def test_hostile_texts_only_ever_raise_corrupt(text: str) -> None:
    try:
        parse_time(text)
    except Corrupt:
        pass


def test_the_caches_stay_bounded() -> None:
    formatter = TimeFormatter("UTC")
    for second in range(70_000):
        formatter.format(second * SECOND)
    assert len(formatter._seconds) <= 1 << 16

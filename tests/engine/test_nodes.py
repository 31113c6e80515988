"""Nodes and times written natively, against the same in Python."""

from __future__ import annotations

import mmap

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backups.engine import nodes, times
from backups.engine.known import Claims
from backups.engine.times import TimeFormatter
from backups.engine.tree import decode_tree, encode_tree, go_mode, owner_json, xattrs_json

ZONES = [
    TimeFormatter(name) for name in ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Africa/Monrovia")
]
SECOND = 1_000_000_000
INSTANTS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(0, 2 * 10**9).map(lambda seconds: seconds * SECOND),
    st.integers(-62_300_000_000, 253_500_000_000).map(lambda seconds: seconds * SECOND + seconds % 7 * 100),
    st.integers(0, 2 * 10**18),
)
NUMBERS = st.integers(0, 2**64 - 1)

needs_native = pytest.mark.skipif(nodes._native is None, reason="the native part was not built")


@needs_native
@given(zone=st.sampled_from(ZONES), instant=INSTANTS)
@example(zone=ZONES[0], instant=253_402_300_799 * SECOND)
@example(zone=ZONES[0], instant=253_402_300_800 * SECOND)
@example(zone=ZONES[0], instant=-62_167_219_200 * SECOND)
@example(zone=ZONES[0], instant=-62_167_219_200 * SECOND - 1)
@example(zone=ZONES[1], instant=951_782_400 * SECOND - 1)
def test_every_instant_is_written_alike(zone: TimeFormatter, instant: int) -> None:
    assert times._format_time is not None
    assert zone.format(instant) == zone.format_slowly(instant)


@needs_native
@given(
    zone=st.sampled_from(ZONES),
    name=st.one_of(st.binary(min_size=1, max_size=20), st.from_regex(rb"[ -~]{1,255}", fullmatch=True)),
    mode=st.sampled_from([0o100644, 0o104755, 0o101777, 0]),
    mtime=INSTANTS,
    ctime=INSTANTS,
    numbers=st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    user=st.text(max_size=5),
    blobs=st.lists(st.binary(min_size=32, max_size=32), max_size=40),
    xattrs=st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.binary(max_size=3000)), max_size=2),
)
def test_every_file_has_the_same_node(
    zone: TimeFormatter,
    name: bytes,
    mode: int,
    mtime: int,
    ctime: int,
    numbers: tuple[int, int, int, int],
    user: str,
    blobs: list[bytes],
    xattrs: list[tuple[bytes, bytes | None]],
) -> None:
    def encode() -> bytes:
        inode, device, size, links = numbers
        return nodes.file_node(
            zone, name, go_mode(mode), mtime, ctime, owner_json(5, 6, user, ""), inode, device,
            size, links, b"".join(blobs), xattrs_json(xattrs),
        )  # fmt: skip

    quick = encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nodes, "_native", None)
        assert encode() == quick
    if not {b"/", b"\0"} & {name[at : at + 1] for at in range(len(name))} and name not in (b".", b".."):
        node = decode_tree(encode_tree([quick]))[0]
        assert node.raw_name == name
        assert node.content == [blob.hex() for blob in blobs]


@needs_native
@pytest.mark.parametrize("change", [{1: 0}, {11: bytes(33)}, {3: 86_400}, {5: -86_400}, {0: b'"'}, {7: 0}])
def test_what_is_not_ordinary_is_left_to_python(change: dict[int, object]) -> None:
    usual: list[object] = [b"name", 420, 1, 0, 1, 0, '"uid":0', 1, 1, 1, 1, bytes(32), ""]
    assert nodes._native(*usual)
    for at, value in change.items():
        usual[at] = value
    assert nodes._native(*usual) is None


# ---------------------------------------------------------------------- claims


@pytest.mark.parametrize("shared", [True, False])
def test_everything_is_claimed_once_however_much_it_is(shared: bool) -> None:
    claims = Claims(shared=shared)
    keys = [number.to_bytes(4, "big") + bytes(27) + b"\1" for number in range(0, 2**32, 2**32 // 40_000)]
    assert all(claims.claim(key) for key in keys)
    assert not any(claims.claim(key) for key in keys)


def test_ids_that_differ_only_at_their_ends_have_room_for_each_other() -> None:
    claims = Claims(shared=True)
    keys = [bytes(30) + number.to_bytes(2, "big") for number in range(1, 200)]
    assert all(claims.claim(key) for key in keys)
    assert not any(claims.claim(key) for key in keys)
    assert sum(isinstance(table, mmap.mmap) for _, table in claims._tables) == 5

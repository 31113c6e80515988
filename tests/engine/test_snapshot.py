"""Snapshots are stored as the stock program stores them, and are found, grouped and changed by its rules."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine.errors import BadRequest, Corrupt, SnapshotMissing
from backups.engine.snapshot import (
    GroupKey,
    Snapshot,
    SnapshotFilter,
    Summary,
    already_copied,
    change_tags,
    choose_parent,
    copy_of,
    decode_snapshot,
    encode_snapshot,
    find_snapshot,
    group_by,
    parse_tags,
    same_for_copy,
)
from backups.engine.times import parse_time
from tests.peers import RepositoryMaker, Restic

TREE = "a" * 64


def snapshot(number: int = 0, **fields: Any) -> Snapshot:
    """The snapshot with this number: the higher, the newer."""
    return Snapshot(**{"id": f"{number:064x}", "time": f"2024-01-01T00:00:{number:02d}Z", "tree": TREE, **fields})


FULL = snapshot(
    1,
    parent="b" * 64,
    paths=["/z", "/a", "/z"],
    hostname="web1",
    username="root",
    uid=1,
    gid=2,
    excludes=["*.tmp"],
    tags=["t2", "t1"],
    original="c" * 64,
    program_version="restic 0.19.1",
    summary=Summary(files_new=1, total_bytes_processed=5),
)


def test_the_fields_stand_in_the_order_of_the_format() -> None:
    stored = json.loads(encode_snapshot(FULL))
    assert list(stored) == [
        "time", "parent", "tree", "paths", "hostname", "username", "uid", "gid", "excludes", "tags", "original",
        "program_version", "summary",
    ]  # fmt: skip
    assert list(stored["summary"]) == list(Summary.__struct_fields__)
    assert stored["paths"] == ["/z", "/a", "/z"]


def test_what_is_empty_is_left_out() -> None:
    assert encode_snapshot(snapshot(5, paths=["/é<"])).decode() == (
        f'{{"time":"2024-01-01T00:00:05Z","tree":"{TREE}","paths":["/é\\u003c"]}}'
    )


def test_a_snapshot_reads_back_as_it_was() -> None:
    assert decode_snapshot(encode_snapshot(FULL), FULL.id) == FULL


def test_unknown_fields_and_nulls_are_ignored_and_the_id_is_the_one_of_the_object() -> None:
    data = f'{{"time":"2024-01-01T00:00:00Z","tree":"{TREE}","paths":null,"tags":null,"new":[{{}}],"id":"liar"}}'
    read = decode_snapshot(data.encode(), "d" * 64)
    assert (read.id, read.paths, read.tags) == ("d" * 64, [], [])


def test_a_partial_summary_is_filled_with_zeros() -> None:
    data = f'{{"time":"2024-01-01T00:00:00Z","tree":"{TREE}","paths":[],"summary":{{"files_new":3}}}}'
    assert decode_snapshot(data.encode(), "d" * 64).summary == Summary(files_new=3)


def test_a_path_that_is_no_utf_8_is_stored_lossily() -> None:
    assert json.loads(encode_snapshot(snapshot(paths=["/\udcff"])))["paths"] == ["/\ufffd"]


GOOD = {"time": "2024-01-01T00:00:00Z", "tree": TREE, "paths": ["/a"]}


WRONG: list[dict[str, Any]] = [
    {"time": "yesterday"}, {"time": 5}, {"tree": None}, {"tree": "zz"}, {"tree": "A" * 64}, {"paths": "/a"},
    {"paths": [1]}, {"uid": -1}, {"uid": 2**32}, {"parent": ""}, {"original": "x" * 64}, {"summary": []},
    {"summary": {"files_new": -1}}, {"summary": {"backup_end": "now"}}, {"tags": {"a": 1}}, {"hostname": []},
]  # fmt: skip
MALFORMED = [b"", b"[]", b"null", b"{}", b"\xff", b'"x"', b'{"a":' * 50_000]
MALFORMED += [json.dumps({**GOOD, **wrong}).encode() for wrong in WRONG]


@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_snapshot_is_refused_with_its_id(data: bytes) -> None:
    with pytest.raises(Corrupt) as caught:
        decode_snapshot(data, "e" * 64)
    assert (caught.value.kind, caught.value.object_id) == ("snapshot", "e" * 64)


@given(st.binary(max_size=300) | st.from_regex(r'\{("[a-z]{1,8}":(null|1|"x"|\[\]|\{\}),?){0,5}\}').map(str.encode))
def test_hostile_bytes_only_ever_raise_corrupt(data: bytes) -> None:
    try:
        decode_snapshot(data, "e" * 64)
    except Corrupt:
        pass


@pytest.mark.parametrize(
    ("matching", "numbers"),
    [
        (SnapshotFilter(), [0, 1, 2, 3]),
        (SnapshotFilter(hosts=["a", "c"]), [0, 2]),
        (SnapshotFilter(paths=["/x"]), [1, 2]),
        (SnapshotFilter(paths=["/x", "/y"]), [2]),
        (SnapshotFilter(tags=[["t"], ["u"]]), [1, 2, 3]),
        (SnapshotFilter(tags=[["t", "u"]]), [3]),
        (SnapshotFilter(tags=[[""]]), [0]),
        (SnapshotFilter(tags=[parse_tags("t , u"), parse_tags("")]), [0, 3]),
        (SnapshotFilter(hosts=["b"], tags=[["t"]]), [1]),
    ],
)
def test_a_filter_asks_for_hosts_all_paths_and_one_tag_list(matching: SnapshotFilter, numbers: list[int]) -> None:
    everyone = [
        snapshot(0, hostname="a"),
        snapshot(1, hostname="b", paths=["/x"], tags=["t"]),
        snapshot(2, hostname="c", paths=["/x", "/y"], tags=["u"]),
        snapshot(3, hostname="d", tags=["u", "t"]),
    ]
    assert [int(s.id, 16) for s in everyone if matching.matches(s)] == numbers


def test_a_snapshot_is_found_by_id_by_its_beginning_and_as_latest() -> None:
    old = snapshot(1, id="ab" * 32, hostname="a")
    new = snapshot(2, id="ac" * 32, hostname="b")
    both = [new, old]
    assert find_snapshot(both, "latest") == (new, "")
    assert find_snapshot(both, "latest:/etc/nginx", SnapshotFilter(hosts=["a"])) == (old, "/etc/nginx")
    assert find_snapshot(both, "AB" * 32) == (old, "")
    assert find_snapshot(both, "ab:x:y", SnapshotFilter(hosts=["b"])) == (old, "x:y")
    with pytest.raises(BadRequest, match="2 snapshot ids begin with a"):
        find_snapshot(both, "a")
    for missing in ("ad", "newest", "", ":/etc", "ab" * 40):
        with pytest.raises(SnapshotMissing):
            find_snapshot(both, missing)
    with pytest.raises(SnapshotMissing):
        find_snapshot(both, "latest", SnapshotFilter(hosts=["z"]))


def test_the_latest_is_the_last_instant_not_the_last_text() -> None:
    earlier = snapshot(1, time="2024-01-01T12:00:00+02:00")
    later = snapshot(2, time="2024-01-01T11:30:00Z")
    assert find_snapshot([earlier, later], "latest")[0] is later


def test_groups_are_made_of_exactly_equal_hosts_and_sets_of_paths() -> None:
    one = snapshot(1, hostname="h", paths=["/b", "/a"], tags=["x"])
    two = snapshot(2, hostname="h", paths=["/a", "/b"], tags=["y"])
    three = snapshot(3, hostname="h", paths=["/a"])
    assert group_by([one, two, three]) == {
        GroupKey("h", ("/a", "/b")): [one, two],
        GroupKey("h", ("/a",)): [three],
    }
    assert group_by([one, two, three], "") == {GroupKey(): [one, two, three]}
    assert list(group_by([one, two], "host,tags")) == [GroupKey("h", (), ("x",)), GroupKey("h", (), ("y",))]
    assert group_by([one], "hosts,path") == group_by([one], "host,paths")
    assert str(GroupKey("h", ("/a", "/b"), ("t",))) == "host h, path [/a /b], tags [t]"
    with pytest.raises(BadRequest, match="size"):
        group_by([], "host,size")


def test_the_parent_is_the_newest_earlier_snapshot_that_has_all_the_paths() -> None:
    wide = snapshot(1, hostname="h", paths=["/a", "/b"])
    narrow = snapshot(2, hostname="h", paths=["/b"], tags=["t"])
    other = snapshot(3, hostname="g", paths=["/a"])
    future = snapshot(9, hostname="h", paths=["/a"])
    everyone = [future, wide, narrow, other]
    now = parse_time("2024-01-01T00:00:05Z")

    def parent(*paths: str, **options: Any) -> Snapshot | None:
        return choose_parent(everyone, hostname="h", paths=paths, not_after=now, **options)

    assert parent("/a") is wide
    assert parent("/b") is narrow
    assert parent("/b/", "/x/../a//") is wide
    assert parent("/a", "/c") is None
    assert parent("/a", grouping="paths") is other
    assert parent("/zzz", grouping="host") is narrow
    assert parent("/a", grouping="paths,tags", tags=["t"]) is None
    assert parent("/b", grouping="paths,tags", tags=["t"]) is narrow
    assert choose_parent(everyone, hostname="h", paths=["/a"], not_after=future.instant) is future


def test_tags_are_set_added_and_removed_as_the_stock_program_does() -> None:
    tagged = snapshot(1, tags=["a", "b", "c", "d"])

    def after(**change: list[str]) -> list[str] | None:
        changed = change_tags(tagged, **change)
        return None if changed is None else changed.tags

    assert after(set_to=["x"], add=["y"], remove=["x"]) == ["x"]
    assert after(set_to=[""]) == []
    assert after(add=["e", "a", "e"]) == ["a", "b", "c", "d", "e"]
    assert after(remove=["a"]) == ["d", "b", "c"]
    assert after(remove=["d"]) == ["a", "b", "c"]
    assert after(remove=["a", "d"]) == ["c", "b"]
    assert after(add=["e"], remove=["e"]) == ["a", "b", "c", "d"]
    assert after(add=["a"]) is None
    assert after(remove=["zzz"]) is None
    assert tagged.tags == ["a", "b", "c", "d"]


def test_the_origin_is_kept_over_all_tag_changes() -> None:
    first = change_tags(snapshot(7), add=["a"])
    assert first is not None
    assert (first.original, first.id) == (f"{7:064x}", "")
    second = change_tags(msgspec.structs.replace(first, id="f" * 64), add=["b"])
    assert second is not None
    assert second.original == f"{7:064x}"


def test_a_copy_has_no_parent_and_points_to_its_first_origin() -> None:
    assert (copy_of(FULL).parent, copy_of(FULL).original) == (None, "c" * 64)
    assert copy_of(snapshot(3)).original == f"{3:064x}"


def test_a_snapshot_is_copied_once() -> None:
    source = snapshot(3, hostname="h", tags=["a"])
    copied = msgspec.structs.replace(copy_of(source), id="9" * 64, time="2024-01-01T01:00:03+01:00")
    assert already_copied(source, [snapshot(1), copied])
    assert already_copied(copied, [source])
    assert not already_copied(source, [msgspec.structs.replace(copied, tags=["b"])])
    assert not already_copied(source, [msgspec.structs.replace(copied, original="8" * 64)])
    assert not already_copied(source, [])


@pytest.mark.parametrize(
    "other",
    [
        {"time": "2024-01-01T00:00:02Z"}, {"tree": "f" * 64}, {"hostname": "x"}, {"username": "x"}, {"uid": 9},
        {"gid": 9}, {"paths": ["/z"]}, {"excludes": []}, {"tags": ["t1", "t2"]},
    ],
)  # fmt: skip
def test_snapshots_that_differ_in_substance_are_not_the_same(other: dict[str, Any]) -> None:
    assert same_for_copy(FULL, msgspec.structs.replace(FULL, id="0" * 64, parent=None, original=None, summary=None))
    assert not same_for_copy(FULL, msgspec.structs.replace(FULL, **other))


def test_snapshots_of_stock_restic_are_read_and_written_field_for_field(
    newest_restic: Restic, restic_repository: RepositoryMaker, tmp_path: Path
) -> None:
    source = tmp_path / "so<urce"
    source.mkdir()
    repo = restic_repository(newest_restic)
    newest_restic.run(repo, "backup", source, source, "--tag", "b,a", "--exclude", "*.x", "--host", "häst")
    (listed,) = newest_restic.json(repo, "snapshots")
    stored = newest_restic.run(repo, "cat", "snapshot", listed["id"]).stdout
    read = decode_snapshot(stored.encode(), listed["id"])
    assert list(json.loads(encode_snapshot(read)).items()) == list(json.loads(stored).items())
    assert (read.hostname, read.tags, read.excludes) == ("häst", ["b", "a"], ["*.x"])
    assert read.summary is not None

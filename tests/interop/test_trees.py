"""The same source gives the same tree, to the byte, whoever backs it up: zones, layouts, excludes, streams."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.interop.ours import Ours, new_repository
from tests.needs import missing
from tests.peers import Restic


@pytest.fixture
def current(all_restics: list[Restic]) -> list[Restic]:
    """Every stock restic that spells trees as the newest does."""
    found = [restic for restic in all_restics if restic.version >= (0, 18)]
    if not found:
        missing("no restic from 0.18 on")
    return found


def trees(ours: Ours, restics: list[Restic], *args: str, **options: Any) -> dict[str, str]:
    """Back up with everybody, reading everything; return the tree of each."""
    found = {}
    name = ours.summary("backup", "--force", *args, **options)["snapshot_id"]
    found["ours"] = next(snapshot.tree for snapshot in ours.open().snapshots() if snapshot.id == name)
    for restic in restics:
        summary = restic.events(ours.repo, "backup", "--force", *args, **options)[-1]
        (snapshot,) = restic.json(ours.repo, "snapshots", summary["snapshot_id"])
        found[str(restic)] = snapshot["tree"]
    return found


def assert_equal(found: dict[str, str]) -> None:
    assert len(set(found.values())) == 1, found


@pytest.mark.parametrize(
    "zone",
    ["UTC", "America/New_York", "Asia/Kolkata", "Europe/Amsterdam", "Africa/Monrovia", "Europe/London", "Pacific/Apia"],
)
def test_an_awkward_tree_has_one_id_in_every_zone(
    tmp_path: Path, current: list[Restic], awkward_parent: Path, zone: str
) -> None:
    ours = new_repository(tmp_path)
    restics = current if zone == "UTC" else current[-1:]
    found = trees(ours, restics, "tree", cwd=awkward_parent, env={"TZ": zone})
    assert_equal(found)


LAYOUTS = [
    ["a"],
    ["./a/", "a/b/../c"],
    ["a/b", "a/f"],
    ["a", "a/b"],
    ["../e", "z", "d"],
    ["a", "../a"],
    ["../a", "a", "./a"],
    ["."],
    [".."],
    ["link"],
    ["link/b"],
    ["a/f", "z"],
    ["a/../d", "z"],
]


@pytest.fixture
def working_folder(tmp_path: Path) -> Path:
    """A folder of a folder, with the same names in both."""
    work = tmp_path / "top" / "work"
    for name in ("a/b/f", "a/c/f", "a/f", "d/f", "z", "../a/outer", "../e"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(name.encode())
    (work / "link").symlink_to("a")
    (work / "link-to-file").symlink_to("z")
    return work


@pytest.mark.parametrize("paths", LAYOUTS, ids=" ".join)
def test_paths_are_merged_into_the_same_tree(
    tmp_path: Path, current: list[Restic], working_folder: Path, paths: list[str]
) -> None:
    assert_equal(trees(new_repository(tmp_path), current[-1:], *paths, cwd=working_folder))


def test_an_absolute_path_gives_the_same_tree(tmp_path: Path, current: list[Restic], working_folder: Path) -> None:
    ours = new_repository(tmp_path / "somewhere")
    assert_equal(trees(ours, current[-1:], str(working_folder / "a"), str(working_folder / "link" / "b")))


EXCLUDES = [
    ["--exclude", "*.log"],
    ["--exclude", "cache", "--exclude", "!cache/keep"],
    ["--exclude", "*/x/**/deep"],
    ["--iexclude", "*.LOG"],
    ["--exclude-caches"],
    ["--exclude", "[a-c]*", "--exclude", "b/?ne"],
    ["--exclude-file", "patterns"],
]


@pytest.mark.parametrize("options", EXCLUDES, ids=" ".join)
def test_the_same_is_left_out(tmp_path: Path, current: list[Restic], options: list[str]) -> None:
    source = tmp_path / "source"
    for name in (
        *("a.log", "A.LOG", "b/one", "b/two.log", "cache/keep", "cache/drop", "x/y/deep/f", "x/deep", "deep/f"),
        *(
            "tagged/CACHEDIR.TAG",
            "tagged/in",
            "tagged/below/in",
            "odd/CACHEDIR.TAG",
            "odd/in",
            "#file",
            "[a]",
            "spa ce",
        ),
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"x")
    (source / "tagged" / "CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    (tmp_path / "patterns").write_text("# a comment\n\n  *.log  \n/cache\nspa ce\n\\#file\n")
    assert_equal(trees(new_repository(tmp_path), current[-1:], *options, "source", cwd=tmp_path))


def test_a_file_system_boundary_is_drawn_alike(tmp_path: Path, current: list[Restic]) -> None:
    if not os.path.ismount("/dev/pts") or not os.path.ismount("/dev/shm"):
        missing("/dev has no file systems mounted in it")
    excludes = [
        part for name in os.listdir("/dev") if name not in ("pts", "shm") for part in ("--exclude", f"/dev/{name}")
    ]
    options = ["--one-file-system", *excludes, "--exclude", "/dev/pts/*", "/dev"]
    assert_equal(trees(new_repository(tmp_path), current[-1:], *options))


@pytest.mark.parametrize("name", ["base.sql", "/base.sql", "dumps/base.sql"])
def test_a_stream_gives_the_same_tree(tmp_path: Path, current: list[Restic], name: str) -> None:
    ours = new_repository(tmp_path)
    data = bytes(range(256)) * 5000
    options = ["--time", "2024-03-04 05:06:07", "--stdin", "--stdin-filename", name]
    # 0.18.0 cannot put a stream into a folder.
    restics = [restic for restic in current if restic.version > (0, 18, 0) or "/" not in name]
    assert_equal(trees(ours, restics, *options, stdin=data))
    assert current[-1].output(ours.repo, "dump", "latest", f"/{name.lstrip('/')}").stdout == data


def test_paths_of_the_snapshot_are_the_same(tmp_path: Path, current: list[Restic], working_folder: Path) -> None:
    ours = new_repository(tmp_path)
    for paths in (["a", "../e", "./a"], ["."], ["link/b", "z"]):
        trees(ours, current[-1:], *paths, cwd=working_folder)
        mine, theirs = current[-1].json(ours.repo, "snapshots")[-2:]
        assert mine["paths"] == theirs["paths"]
        assert (mine["hostname"], mine["username"]) == (theirs["hostname"], theirs["username"])


def test_an_empty_stream_is_no_success_for_either(tmp_path: Path, current: list[Restic]) -> None:
    ours = new_repository(tmp_path)
    assert current[-1].run(ours.repo, "backup", "--stdin", stdin=b"", check=False).returncode
    before = len(ours.open().snapshots())
    refused = ours.run("backup", "--stdin", stdin=b"", check=False)
    assert refused.returncode
    assert "standard input" in refused.stderr
    assert len(ours.open().snapshots()) == before

"""Items are found in every snapshot, common trees are read once, and versions are told apart."""

import json
from pathlib import Path
from typing import Any

import pytest

from backups.engine.diff import TreeLoop
from backups.engine.errors import Corrupt
from backups.engine.find import find, find_versions
from backups.engine.keys import KdfParams
from backups.engine.patterns import Patterns
from backups.engine.repository import Repository
from backups.engine.times import parse_time
from backups.engine.tree import decode_tree
from destinations.storage.local import LocalStore
from tests.engine.trees import Forest, file, folder, node
from tests.peers import PASSWORD, Restic


def found(forest: Forest, pattern: str, *trees: str, **options: Any) -> list[tuple[str, str]]:
    """What matches in the snapshots of these trees, which are called 0, 1, and so on."""
    snapshots = [(str(number), tree) for number, tree in enumerate(trees)]
    return [(m.snapshot_id, m.path.decode()) for m in find(forest.load, snapshots, Patterns([pattern]), **options)]


def test_matches_come_by_snapshot_each_folder_before_its_content() -> None:
    forest = Forest()
    one = forest.plant({"etc": {"nginx": {"nginx.conf": "1", "a.conf": "2"}, "hosts": "3"}, "x.conf": "4"})
    two = forest.plant({"etc": {"hosts": "3"}, "x.conf": "4"})
    assert found(forest, "*.conf", one, two) == [
        ("0", "/etc/nginx/nginx.conf"), ("0", "/etc/nginx/a.conf"), ("0", "/x.conf"), ("1", "/x.conf"),
    ]  # fmt: skip
    assert found(forest, "nginx", one) == [
        ("0", "/etc/nginx"), ("0", "/etc/nginx/nginx.conf"), ("0", "/etc/nginx/a.conf"),
    ]  # fmt: skip


def test_a_tree_at_the_same_path_is_read_once_for_all_snapshots() -> None:
    forest = Forest()
    common = {"a": {"b": {"c.txt": "1"}}, "empty": {}}
    trees = [forest.plant({"common": common, "day": str(number)}) for number in range(50)]
    assert found(forest, "*.txt", *trees) == [(str(n), "/common/a/b/c.txt") for n in range(50)]
    assert len(forest.loads) == 50 + 4


def test_folders_where_nothing_can_match_are_not_read() -> None:
    forest = Forest()
    tree = forest.plant({"home": {"u": {"x": "1"}}, "var": {"lib": {"x": "1"}}})
    assert found(forest, "/home/*/x", tree) == [("0", "/home/u/x")]
    assert len(forest.loads) == 3


def test_the_same_tree_at_two_paths_is_found_at_both() -> None:
    forest = Forest()
    tree = forest.plant({"a": {"x": "1"}, "b": {"x": "1"}})
    assert found(forest, "x", tree) == [("0", "/a/x"), ("0", "/b/x")]
    assert found(forest, "/b/x", tree) == [("0", "/b/x")]


def test_the_modification_time_limits_what_is_found() -> None:
    forest = Forest()
    days = ("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "2024-01-03T01:00:00+01:00")
    tree = forest.put([file(f"f{number}", "1", mtime=mtime) for number, mtime in enumerate(days)])
    oldest, newest = parse_time(days[1]), parse_time(days[2])
    assert found(forest, "f*", tree, oldest=oldest) == [("0", "/f1"), ("0", "/f2")]
    assert found(forest, "f*", tree, newest=newest - 1) == [("0", "/f0"), ("0", "/f1")]
    assert found(forest, "f*", tree, oldest=oldest, newest=newest) == [("0", "/f1"), ("0", "/f2")]


def test_versions_are_told_apart_by_content_time_and_rights_and_list_their_snapshots() -> None:
    forest = Forest()
    states = [
        file("f", "1", inode=1),
        file("f", "1", inode=2, ctime="2025-01-01T00:00:00Z", links=3),
        file("f", "2"),
        file("f", "2", mode=420),
        file("f", "1"),
        node("f", "symlink", linktarget="1"),
    ]
    snapshots = [(str(number), forest.plant({"d": forest_tree(state)})) for number, state in enumerate(states)]
    versions = find_versions(forest.load, snapshots, Patterns(["/d/f", "/none"]))
    assert [(v.path, v.node.type, v.snapshot_ids) for v in versions] == [
        (b"/d/f", "file", ["0", "1", "4"]),
        (b"/d/f", "file", ["2"]),
        (b"/d/f", "file", ["3"]),
        (b"/d/f", "symlink", ["5"]),
    ]


def forest_tree(state: Any) -> dict[str, Any]:
    """A folder that holds this node and nothing else."""
    return {"f": state}


def test_versions_are_listed_by_path_and_a_folder_changes_with_its_content() -> None:
    forest = Forest()
    first, second = forest.plant({"b": {"x": "1"}, "a": "1"}), forest.plant({"b": {"x": "2"}, "a": "1"})
    versions = find_versions(forest.load, [("s1", first), ("s2", second)], Patterns(["a", "/b"]))
    assert [(v.path, v.snapshot_ids) for v in versions] == [
        (b"/a", ["s1", "s2"]), (b"/b", ["s1"]), (b"/b", ["s2"]), (b"/b/x", ["s1"]), (b"/b/x", ["s2"]),
    ]  # fmt: skip


def test_a_tree_that_contains_itself_ends_in_a_typed_error() -> None:
    forest = Forest()
    loop = "d" * 64
    forest.trees[loop] = forest.trees[forest.put([folder("x", loop)])]
    for tolerated in (None, lambda path, damage: None):
        with pytest.raises(TreeLoop):
            found(forest, "nothing", forest.put([folder("up", loop)]), on_damage=tolerated)


def test_an_unreadable_folder_is_reported_and_the_rest_is_found() -> None:
    forest = Forest()
    tree = forest.put([folder("a", "e" * 64), node("b", "dir"), file("x", "1")])
    reported: list[bytes] = []
    assert found(forest, "x", tree, on_damage=lambda path, _: reported.append(path)) == [("0", "/x")]
    assert reported == [b"/a", b"/b"]
    with pytest.raises(Corrupt):
        found(forest, "x", tree)


def test_thousands_of_levels_are_no_problem() -> None:
    forest = Forest()
    tree = forest.plant({"f": "1"})
    for _ in range(3000):
        tree = forest.put([folder("d", tree)])
    assert found(forest, "f", tree) == [("0", "/d" * 3000 + "/f")]


def test_stock_restic_finds_the_same(newest_restic: Restic, tmp_path: Path) -> None:
    root, repo = tmp_path / "source", tmp_path / "repository"
    repository = Repository.create(LocalStore(repo), PASSWORD, params=KdfParams(1024, 8, 1))
    for number in range(30):
        path = root / f"d{number % 3}" / f"e{number % 4}" / (f"f{number}" if number % 5 else f"{number}.conf")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    newest_restic.run(repo, "backup", "--no-cache", root)
    (snapshot,) = repository.snapshots()
    repository.load_index()
    for patterns in (["*.conf", "d1/e*"], ["-i", "F1*"], ["/**/e1/f2?"]):
        said = json.loads(newest_restic.run(repo, "--json", "find", "--no-cache", *patterns).stdout)
        theirs = [match["path"] for group in said for match in group["matches"]]
        wanted = Patterns([pattern for pattern in patterns if pattern != "-i"], ignore_case="-i" in patterns)
        ours = find(lambda tree: decode_tree(repository.load_tree(tree)), [(snapshot.id, snapshot.tree)], wanted)
        assert theirs
        assert [match.path.decode() for match in ours] == theirs

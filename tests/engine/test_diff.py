"""Differences are found once, marked as stock restic marks them, and hostile trees end in a typed error."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from backups.engine.blob import BlobType
from backups.engine.diff import Counts, Statistics, TreeLoop, diff, same_node
from backups.engine.errors import Corrupt
from backups.engine.keys import KdfParams
from backups.engine.repository import Repository
from backups.engine.tree import decode_tree
from destinations.storage.local import LocalStore
from tests.engine.trees import TIME, Forest, file, folder, node
from tests.peers import PASSWORD, Restic


def changes(before: dict[str, Any], after: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    """The marks and paths of a diff between two trees."""
    forest = Forest()
    found = diff(forest.load, forest.plant(before), forest.plant(after), **options)
    return [(change.mark, change.shown_path.decode()) for change in found]


def test_items_are_added_removed_and_modified() -> None:
    before = {"a": "1", "b": "2", "d": {"x": "1", "y": "2"}, "gone": {"z": "1"}}
    after = {"a": "1", "b": "33", "c": "4", "d": {"x": "22"}, "new": {"q": {"r": "1"}}}
    assert changes(before, after) == [
        ("M", "/b"),
        ("+", "/c"),
        ("M", "/d/x"),
        ("-", "/d/y"),
        ("-", "/gone/"),
        ("-", "/gone/z"),
        ("+", "/new/"),
        ("+", "/new/q/"),
        ("+", "/new/q/r"),
    ]  # fmt: skip


def test_equal_trees_have_no_changes_and_are_not_read_twice() -> None:
    forest = Forest()
    same = {"deep": {"deeper": {"a": "1"}}}
    before, after = forest.plant({"s": same, "x": "1"}), forest.plant({"s": same, "x": "2"})
    assert [change.path for change in diff(forest.load, before, after)] == [b"/x"]
    assert forest.loads == [before, after]


def test_a_change_of_type_is_marked_and_not_descended_into() -> None:
    before = {"a": "1", "b": {"x": "1"}, "c": node("c", "symlink", linktarget="t")}
    after = {"a": {"x": "1"}, "b": "1", "c": "1"}
    assert changes(before, after) == [("T", "/a/"), ("T", "/b"), ("T", "/c")]
    assert changes(before, after, metadata=True) == [("TU", "/a/"), ("TU", "/b"), ("TU", "/c")]


def test_metadata_counts_on_request_and_times_are_compared_as_instants() -> None:
    before = {"a": file("a", "1"), "b": file("b", "1"), "c": file("c", "1", inode=1), "d": {"x": "1"}}
    after = {
        "a": file("a", "1", mtime="2024-01-02T04:04:05+01:00"),
        "b": file("b", "1", mode=420),
        "c": file("c", "2", inode=2),
        "d": {"x": "2"},
    }
    assert changes(before, after, metadata=True) == [("U", "/b"), ("M", "/c"), ("U", "/d/"), ("M?", "/d/x")]
    assert changes(before, after) == [("M", "/c"), ("M?", "/d/x")]


def test_a_target_of_a_link_is_metadata() -> None:
    before = {"l": node("l", "symlink", linktarget="a")}
    after = {"l": node("l", "symlink", linktarget="b")}
    assert changes(before, after) == []
    assert changes(before, after, metadata=True) == [("U", "/l")]


def test_names_are_compared_as_bytes_and_trees_need_not_be_sorted() -> None:
    forest = Forest()
    before = forest.put([file("b", "1"), file("a", "1"), file("\\xff", "1")])
    after = forest.put([file("a", "1"), file("é", "1"), file("b", "1")])
    assert [(c.mark, c.path) for c in diff(forest.load, before, after)] == [("+", "/é".encode()), ("-", b"/\xff")]


def test_statistics_count_what_only_one_side_needs() -> None:
    forest = Forest()
    shared = {"same": "abc"}
    before = forest.plant({"dir": shared, "f": "ax", "l": node("l", "symlink", linktarget="t"), "old": {"o": "y"}})
    after = forest.plant({"dir": shared, "f": "bz", "n": "zzc", "q": node("q", "fifo")})
    statistics = Statistics(blob_size=lambda kind, _: 1000 if kind == "tree" else 1)
    list(diff(forest.load, before, after, statistics=statistics))
    assert statistics.changed_files == 1
    assert statistics.removed == Counts(files=1, dirs=1, others=1, data_blobs=2, tree_blobs=2, bytes=2002)
    assert statistics.added == Counts(files=1, dirs=0, others=1, data_blobs=1, tree_blobs=1, bytes=1001)


def test_a_blob_without_a_known_size_is_counted_apart() -> None:
    forest = Forest()
    statistics = Statistics(blob_size=lambda kind, _: None)
    list(diff(forest.load, forest.plant({}), forest.plant({"a": "xy"}), statistics=statistics))
    assert (statistics.added.data_blobs, statistics.added.bytes, statistics.unsized_blobs) == (2, 0, 4)


def test_a_tree_that_contains_itself_ends_in_a_typed_error() -> None:
    for damage_tolerated in (None, lambda path, damage: None):
        forest = Forest()
        loop = "d" * 64
        forest.trees[loop] = forest.trees[forest.put([folder("x", loop), file("f", "1")])]
        other = forest.plant({"x": {"y": "1"}})
        for before, after in ((loop, other), (other, loop), (forest.plant({}), loop)):
            with pytest.raises(TreeLoop):
                list(diff(forest.load, before, after, on_damage=damage_tolerated))


def test_an_unreadable_folder_is_reported_and_the_rest_goes_on() -> None:
    forest = Forest()
    before = forest.put(
        [folder("a", "e" * 64), folder("b", forest.plant({"x": "1"})), node("c", "dir"), file("z", "1")]
    )
    after = forest.plant({"a": {"q": "1"}, "b": {"x": "2"}, "c": {"w": "1"}})
    reported: list[tuple[bytes, str]] = []
    found = list(diff(forest.load, before, after, on_damage=lambda path, damage: reported.append((path, str(damage)))))
    assert [(c.mark, c.path) for c in found] == [("M?", b"/b/x"), ("-", b"/z")]
    assert [path for path, _ in reported] == [b"/a", b"/c"]
    with pytest.raises(Corrupt):
        list(diff(forest.load, before, after))


def test_thousands_of_levels_are_no_problem() -> None:
    forest = Forest()
    before, after = forest.plant({"f": "1"}), forest.plant({"f": "2"})
    for _ in range(3000):
        before, after = forest.put([folder("d", before)]), forest.put([folder("d", after)])
    (change,) = diff(forest.load, before, after)
    assert change.path == b"/d" * 3000 + b"/f"


def test_nodes_are_the_same_whatever_zone_their_times_are_in() -> None:
    assert same_node(file("a", "1"), file("a", "1", ctime="2024-01-02T00:04:05-03:00"))
    assert not same_node(file("a", "1"), file("a", "1", ctime="2024-01-02T00:04:05Z"))
    assert not same_node(file("a", "1"), file("a", "1", atime=TIME, uid=1))


def mutate(root: Path, rng: random.Random) -> None:
    """Change a tree in every way a diff can tell."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    for path in rng.sample(files, 12):
        match rng.randrange(5):
            case 0:
                path.write_text(f"changed {rng.random()}")
            case 1:
                path.unlink()
            case 2:
                path.chmod(0o600)
            case 3:
                path.unlink()
                path.symlink_to("elsewhere")
            case _:
                (path.parent / f"new-{path.name}").mkdir()
                (path.parent / f"new-{path.name}" / "inside").write_text(f"new {rng.random()}")
    gone = rng.choice(sorted(path for path in root.iterdir() if path.is_dir()))
    gone.rename(root / f"moved-{gone.name}")


def test_stock_restic_sees_the_same_differences(newest_restic: Restic, tmp_path: Path) -> None:
    store, root = LocalStore(tmp_path / "repository"), tmp_path / "source"
    repository = Repository.create(store, PASSWORD, params=KdfParams(1024, 8, 1))
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    for number in range(40):
        path = root / f"d{number % 5}" / f"e{number % 3}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content {number % 30}")
    os.mkfifo(root / "d0" / "pipe")
    newest_restic.run(tmp_path / "repository", "backup", "--no-cache", root)
    mutate(root, rng)
    newest_restic.run(tmp_path / "repository", "backup", "--no-cache", root)
    before, after = sorted(repository.snapshots(), key=lambda snapshot: snapshot.instant)
    command = ["--json", "diff", "--metadata", "--no-cache", before.id, after.id]
    *said, summary = map(json.loads, newest_restic.run(tmp_path / "repository", *command).stdout.splitlines())
    index = repository.load_index()

    def blob_size(kind: str, blob_id: str) -> int | None:
        place = index.find(BlobType.TREE if kind == "tree" else BlobType.DATA, bytes.fromhex(blob_id))
        return None if place is None else place.plain_size or place.length - 32

    statistics = Statistics(blob_size)
    found = diff(
        lambda tree_id: decode_tree(repository.load_tree(tree_id)),
        before.tree,
        after.tree,
        metadata=True,
        statistics=statistics,
    )
    ours = [(change.mark, change.shown_path.decode()) for change in found]
    assert ours == [(change["modifier"], change["path"]) for change in said], f"seed {seed}"
    assert summary["changed_files"] == statistics.changed_files
    for key, counts in (("added", statistics.added), ("removed", statistics.removed)):
        assert summary[key] == {name: getattr(counts, name) for name in Counts.__slots__}, f"seed {seed}"

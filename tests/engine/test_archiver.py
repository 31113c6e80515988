"""What a backup stores: every item with everything of it, the same whoever does the work, nothing silently short."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backups.engine import archiver
from backups.engine.archive_helper import Spool
from backups.engine.archiver import BackupResult
from backups.engine.blob import BlobType, Codec
from backups.engine.errors import Canceled, EngineError, LockLost, NothingToSave, SourceProblem
from backups.engine.layout import DATA, INDEX, SNAPSHOTS, object_key
from backups.engine.pool import WorkerDied
from backups.engine.ports import CancelToken, Silent, Source
from backups.engine.repository import Repository
from backups.engine.times import parse_time
from backups.engine.tree import unix_mode
from backups.sources import FolderSource, StreamFile
from backups.sources.composed import ComposedSource, VirtualFolder
from destinations.storage.base import ObjectStore
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import assert_whole, local, new_repository, reopened
from tests.engine.running import MeddledSource, children, content, contents_below, in_child, nodes, run_backup
from tests.fakes.faulty_store import CountingStore
from tests.needs import missing

NOBODY = 65534


@pytest.fixture
def source_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder ``source``, relative to which tests name their paths."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def folder_source(**options: object) -> FolderSource:
    return FolderSource([b"source"])


def fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


# ---------------------------------------------------------------------- everything of every item


def test_every_item_is_stored_with_everything_the_kernel_says_of_it(awkward_tree: bytes) -> None:
    repository = new_repository(MemoryStore())
    result = run_backup(repository, FolderSource([awkward_tree]))
    assert result.problems == []
    stored = nodes(repository, result.tree)
    found = [awkward_tree]
    for here, folders, files in os.walk(awkward_tree):
        found += [here + b"/" + name for name in folders + files]
    expected = {path for path in found if not stat.S_ISSOCK(os.lstat(path).st_mode)}
    assert stored.keys() == expected
    for path, node in stored.items():
        info = os.lstat(path)
        kind = stat.S_IFMT(info.st_mode)
        assert unix_mode(node.mode) == info.st_mode
        assert (node.uid, node.gid, node.inode) == (info.st_uid, info.st_gid, info.st_ino)
        assert node.device_id == info.st_dev
        assert parse_time(node.mtime) == parse_time(node.atime) == info.st_mtime_ns
        assert parse_time(node.ctime) == info.st_ctime_ns
        assert node.links == (0 if kind in (stat.S_IFDIR, stat.S_IFIFO) else info.st_nlink)
        assert node.device == (info.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0)
        assert (node.content is not None) == (kind == stat.S_IFREG)
        if kind == stat.S_IFLNK:
            assert node.raw_target == os.readlink(path)
        if kind == stat.S_IFREG:
            assert content(repository, node) == Path(os.fsdecode(path)).read_bytes()
        names = os.listxattr(path, follow_symlinks=False)
        assert [attribute.value for attribute in node.extended_attributes or []] == [
            os.getxattr(path, name, follow_symlinks=False) for name in names
        ]
    assert_whole(reopened(repository))


def test_the_summary_counts_what_was_there(awkward_tree: bytes) -> None:
    repository = new_repository(MemoryStore())
    result = run_backup(repository, FolderSource([awkward_tree]))
    stored = nodes(repository, result.tree).values()
    files = [node for node in stored if node.type == "file"]
    counts = result.counts
    assert counts.files_new == counts.total_files_processed == len(files)
    assert counts.total_bytes_processed == sum(node.size for node in files)
    assert counts.dirs_new == sum(node.type == "dir" for node in stored)
    blobs = [(kind, place) for kind, _, place in repository.index.items()]
    assert counts.data_blobs == sum(kind == BlobType.DATA for kind, _ in blobs)
    assert counts.tree_blobs == sum(kind == BlobType.TREE for kind, _ in blobs)
    snapshot = repository.snapshots()[0]
    assert snapshot.id == result.snapshot_id
    assert snapshot.summary is not None
    assert snapshot.summary.data_added_packed == counts.data_added_packed
    sizes = sum(repository.ids(DATA).values())
    assert result.stored_bytes == sizes
    assert 0 < sizes - counts.data_added_packed <= 36 * result.packs


# ---------------------------------------------------------------------- the same, whoever does the work


class Remote(CountingStore):
    """A store that a forked child cannot use: helpers hand their packs to the coordinator."""


def _stores(tmp_path: Path) -> dict[str, Callable[[], ObjectStore]]:
    return {"folder": lambda: local(tmp_path / "repository"), "remote": lambda: Remote(MemoryStore())}


@pytest.mark.parametrize("place", ["folder", "remote"])
@pytest.mark.parametrize("workers", [1, 3])
def test_helpers_make_the_same_tree_of_the_same_blobs(
    awkward_tree: bytes, tmp_path: Path, workers: int, place: str
) -> None:
    alone = new_repository(MemoryStore())
    expected = run_backup(alone, FolderSource([awkward_tree]))
    store = _stores(tmp_path)[place]()
    repository = new_repository(store)
    result = run_backup(repository, FolderSource([awkward_tree]), workers=workers, workspace=tmp_path)
    assert result.tree == expected.tree
    assert result.counts == expected.counts or result.counts.data_blobs >= expected.counts.data_blobs
    blobs = {(kind, blob_id) for kind, blob_id, _ in alone.index.items()}
    assert {(kind, blob_id) for kind, blob_id, _ in reopened(repository).index.items()} == blobs
    assert_whole(reopened(repository))
    assert not list(tmp_path.glob("holdfast-packs-*"))
    if isinstance(store, Remote):
        assert not store.capabilities.forkable


def test_a_wide_folder_is_shared_out_and_comes_together_in_order(source_folder: Path, tmp_path: Path) -> None:
    for number in range(5000):
        (source_folder / f"{number * 7919 % 100_000:05}").write_bytes(b"%d" % (number % 1000))
    alone = new_repository(MemoryStore())
    expected = run_backup(alone, folder_source())
    repository = new_repository(local(tmp_path / "repository"))
    result = run_backup(repository, folder_source(), workers=3)
    assert result.tree == expected.tree
    names = [path for path in nodes(repository, result.tree) if b"/" in path]
    assert names == sorted(names)
    assert len(names) == 5000
    again = run_backup(repository, folder_source(), workers=3, parent=result.snapshot_id)
    assert again.tree == expected.tree
    assert again.counts.files_unmodified == 5000
    assert again.packs == 0


def test_version_1_stores_the_same_tree_uncompressed(awkward_tree: bytes) -> None:
    expected = run_backup(new_repository(MemoryStore()), FolderSource([awkward_tree]))
    repository = new_repository(MemoryStore(), version=1)
    assert run_backup(repository, FolderSource([awkward_tree])).tree == expected.tree
    assert not any(place.plain_size for _, _, place in repository.index.items())
    assert_whole(reopened(repository))


@pytest.mark.parametrize("level", [None, 1, 19])
def test_compression_changes_no_id(awkward_tree: bytes, level: int | None) -> None:
    expected = run_backup(new_repository(MemoryStore()), FolderSource([awkward_tree]))
    repository = new_repository(MemoryStore())
    assert run_backup(repository, FolderSource([awkward_tree]), codec=Codec(level)).tree == expected.tree
    for kind, _, place in repository.index.items():
        if kind == BlobType.TREE:
            assert place.plain_size
        elif level is None:
            assert not place.plain_size
    assert_whole(repository)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "Africa/Monrovia", "Europe/London", "UTC"])
def test_the_process_s_own_zone_gives_the_same_tree_as_naming_it(
    awkward_tree: bytes, zone: str, tmp_path: Path
) -> None:
    named = run_backup(new_repository(MemoryStore()), FolderSource([awkward_tree]), zone=zone)
    program = (
        "import sys\n"
        "from backups.sources import FolderSource\n"
        "from destinations.storage.memory import MemoryStore\n"
        "from tests.engine.repositories import new_repository\n"
        "from tests.engine.running import run_backup\n"
        "print(run_backup(new_repository(MemoryStore()), FolderSource([b'tree']), zone=None).tree)\n"
    )
    root = Path(archiver.__file__).parents[2]
    own = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TZ": zone, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert own.stdout.strip() == named.tree
    utc = run_backup(new_repository(MemoryStore()), FolderSource([awkward_tree]))
    assert (utc.tree == named.tree) == (zone == "UTC")


# ---------------------------------------------------------------------- the next run


def test_nothing_changed_means_nothing_read_nothing_stored_and_the_same_tree(awkward_tree: bytes) -> None:
    repository = new_repository(MemoryStore())
    first = run_backup(repository, FolderSource([awkward_tree]))
    opened: list[bytes] = []
    again = reopened(repository)
    second = run_backup(
        again, MeddledSource(FolderSource([awkward_tree]), opening=opened.append), parent=first.snapshot_id
    )
    # The name of its attribute is no text, so the snapshot has it as something else: only the file itself has it right.
    assert set(opened) <= {b"tree/attributes/not-text"}
    assert second.tree == first.tree
    assert second.packs == 0
    assert second.counts.files_unmodified == first.counts.files_new - len(opened)
    assert second.counts.dirs_unmodified == first.counts.dirs_new
    assert second.counts.total_bytes_processed == first.counts.total_bytes_processed
    assert second.parent == first.snapshot_id


def test_without_a_parent_everything_is_read_and_nothing_stored(awkward_tree: bytes) -> None:
    repository = new_repository(MemoryStore())
    first = run_backup(repository, FolderSource([awkward_tree]))
    second = run_backup(reopened(repository), FolderSource([awkward_tree]))
    assert second.tree == first.tree
    assert (second.packs, second.counts.data_added) == (0, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_only_what_changed_is_read(source_folder: Path, tmp_path: Path, workers: int) -> None:
    fill(source_folder, {f"d{n}/{m}": b"%d %d" % (n, m) for n in range(40) for m in range(5)})
    repository = new_repository(MemoryStore())
    first = run_backup(repository, folder_source(), workers=workers)
    (source_folder / "d3" / "2").write_bytes(b"other")
    (source_folder / "d4" / "new").write_bytes(b"new")
    (source_folder / "d5" / "1").unlink()
    os.utime(source_folder / "d6" / "1", ns=(0, 12345))
    opened: list[bytes] = []
    source = MeddledSource(folder_source(), opening=opened.append)
    second = run_backup(reopened(repository), source, parent=first.snapshot_id, workers=workers)
    if not workers:
        assert sorted(opened) == [b"source/d3/2", b"source/d4/new", b"source/d6/1"]
    counts = second.counts
    assert (counts.files_new, counts.files_changed, counts.files_unmodified) == (1, 2, 197)
    assert (counts.dirs_new, counts.dirs_changed, counts.dirs_unmodified) == (0, 5, 36)
    assert counts.data_blobs == 2
    alone = run_backup(new_repository(MemoryStore()), folder_source())
    assert second.tree == alone.tree


def test_metadata_of_an_unread_file_is_taken_fresh(source_folder: Path) -> None:
    """Nothing says that a changed owner changes the times: some file systems and programs set them back."""
    fill(source_folder, {"a": b"content"})
    repository = new_repository(MemoryStore())
    first = run_backup(repository, folder_source())
    os.chmod(source_folder / "a", 0o600)
    os.link(source_folder / "a", source_folder / "b")
    second = run_backup(repository, folder_source(), parent=first.snapshot_id)
    stored = nodes(repository, second.tree)
    assert unix_mode(stored[b"source/a"].mode) == stat.S_IFREG | 0o600
    assert stored[b"source/a"].links == 2
    assert second.tree == run_backup(new_repository(MemoryStore()), folder_source()).tree


def test_a_file_whose_blob_is_lost_is_read_again_although_it_did_not_change(source_folder: Path) -> None:
    fill(source_folder, {"a": b"first", "b/c": b"second"})
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))
    first = run_backup(repository, folder_source())
    for key in [key for key in objects if key.startswith((DATA, INDEX))]:
        del objects[key]
    second = run_backup(reopened(repository), folder_source(), parent=first.snapshot_id)
    assert second.tree == first.tree
    assert contents_below(reopened(repository), second.tree) == {b"source/a": b"first", b"source/b/c": b"second"}


def test_a_damaged_parent_costs_time_and_nothing_else(source_folder: Path) -> None:
    fill(source_folder, {"a": b"first", "b/c": b"second"})
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))
    first = run_backup(repository, folder_source())
    tree_packs = {repository.index.packs[place.pack] for kind, _, place in repository.index.items() if kind}
    for pack in tree_packs:
        key = object_key(DATA, pack.hex())
        objects[key] = bytes(len(objects[key]))
    again = reopened(repository)
    second = run_backup(again, folder_source(), parent=first.snapshot_id)
    assert second.tree == first.tree
    assert second.counts.files_new == 2


def test_an_unchanged_source_makes_no_snapshot_where_that_is_asked(source_folder: Path) -> None:
    fill(source_folder, {"a": b"x"})
    repository = new_repository(MemoryStore())
    first = run_backup(repository, folder_source(), skip_if_unchanged=True)
    second = run_backup(repository, folder_source(), skip_if_unchanged=True, parent=first.snapshot_id)
    assert first.snapshot_id and not second.snapshot_id
    assert len(repository.snapshots()) == 1
    fill(source_folder, {"a": b"xy"})
    assert run_backup(repository, folder_source(), skip_if_unchanged=True, parent=first.snapshot_id).snapshot_id


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dry_run_tells_the_same_and_stores_nothing(awkward_tree: bytes, tmp_path: Path, workers: int) -> None:
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))
    before = objects.copy()
    told = run_backup(repository, FolderSource([awkward_tree]), dry_run=True, workers=workers)
    assert objects == before
    done = run_backup(repository, FolderSource([awkward_tree]))
    assert told.tree == done.tree
    assert told.counts.data_added == done.counts.data_added or workers
    assert not told.snapshot_id


# ---------------------------------------------------------------------- what cannot be read


def test_an_empty_snapshot_is_refused(tmp_path: Path) -> None:
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))
    with pytest.raises(NothingToSave):
        run_backup(repository, FolderSource([os.fsencode(tmp_path / "not there")]))
    assert not any(key.startswith(SNAPSHOTS) for key in objects)


def test_a_missing_target_is_reported_and_the_others_are_saved(source_folder: Path) -> None:
    fill(source_folder, {"a": b"x"})
    repository = new_repository(MemoryStore())
    result = run_backup(repository, FolderSource([b"source", b"gone"]))
    assert [path for path, _ in result.problems] == ["gone"]
    assert not result.complete
    assert b"source/a" in nodes(repository, result.tree)


def _unreadable_tree(folder: Path) -> None:
    fill(folder, {"open": b"x", "closed": b"secret", "shut/in": b"secret", "listed/in": b"secret", "d/closed": b"s"})
    for name, mode in (("closed", 0), ("d/closed", 0), ("shut", 0), ("listed", 0o444)):
        (folder / name).chmod(mode)
    if os.geteuid() == 0:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_user_may_not_read_is_named_and_the_rest_is_saved(public_folder: Path, workers: int) -> None:
    _unreadable_tree(public_folder / "source")

    def work() -> tuple[BackupResult, set[bytes]]:
        os.chdir(public_folder)
        repository = new_repository(local(public_folder / "repository"))
        done = run_backup(repository, folder_source(), workers=workers)
        return done, set(nodes(repository, done.tree))

    result, stored = in_child(work, uid=NOBODY if os.geteuid() == 0 else None)
    told = {path for path, _ in result.problems}
    assert {path.removeprefix("/") for path in told} >= {"source/closed", "source/shut", "source/d/closed"}
    assert any(path.endswith("listed/in") for path in told)
    assert {b"source/open", b"source/d", b"source/listed"} <= stored
    assert not stored & {b"source/closed", b"source/shut", b"source/shut/in", b"source/listed/in", b"source/d/closed"}
    assert result.snapshot_id


def _append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def _replace(path: Path, make: Callable[[Path], None]) -> None:
    new = path.with_name("new")
    make(new)
    os.rename(new, path)


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _to_file(path: Path) -> None:
    path.rmdir() if path.is_dir() else path.unlink()
    path.write_bytes(b"now a file")


def _fifo(path: Path) -> None:
    os.mkfifo(path)


LARGE = random.Random(3).randbytes(1_500_000)
CHANGES_BEFORE_OPENING: dict[str, Callable[[Path], None]] = {
    "vanishes": Path.unlink,
    "becomes a link": lambda path: _replace(path, lambda new: new.symlink_to("/etc/passwd")),
    "becomes a pipe": lambda path: _replace(path, _fifo),
    "becomes a folder": _to_folder,
    "becomes another file": lambda path: _replace(path, lambda new: new.write_bytes(b"other")),
}


@pytest.mark.parametrize("change", CHANGES_BEFORE_OPENING)
@pytest.mark.parametrize("name", ["small", "large"])
def test_a_file_that_turns_into_something_else_before_it_is_opened_is_named(
    source_folder: Path, change: str, name: str
) -> None:
    fill(source_folder, {"small": b"x", "large": LARGE, "kept": b"kept"})
    meddled: list[bytes] = []

    def opening(path: bytes) -> None:
        if path == b"source/" + name.encode():
            meddled.append(path)
            CHANGES_BEFORE_OPENING[change](source_folder / name)

    repository = new_repository(MemoryStore())
    result = run_backup(repository, MeddledSource(folder_source(), opening=opening))
    assert meddled
    assert [path.removeprefix("/") for path, _ in result.problems] == [f"source/{name}"]
    stored = contents_below(repository, result.tree)
    assert stored[b"source/kept"] == b"kept"
    assert b"source/" + name.encode() not in stored


CHANGES_WHILE_READING: dict[str, Callable[[Path], None]] = {
    "grows": lambda path: _append(path, b"more"),
    "grows a lot": lambda path: _append(path, LARGE * 2),
    "shrinks": lambda path: os.truncate(path, 3),
    "is emptied": lambda path: os.truncate(path, 0),
    "is overwritten": lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
}


@pytest.mark.parametrize("change", CHANGES_WHILE_READING)
@pytest.mark.parametrize("size", [0, 1, 20, 1000, 524_288, 1_500_000])
def test_a_file_that_changes_while_it_is_read_is_kept_as_read_and_named(
    source_folder: Path, change: str, size: int
) -> None:
    (source_folder / "file").write_bytes(LARGE[:size])
    os.utime(source_folder / "file", ns=(1, 1))
    pending = [CHANGES_WHILE_READING[change]]

    def reading(path: bytes) -> None:
        if pending:
            pending.pop()(source_folder / "file")

    repository = new_repository(MemoryStore())
    result = run_backup(repository, MeddledSource(folder_source(), reading=reading))
    if size or "grow" in change:
        assert [path.removeprefix("/") for path, _ in result.problems] == ["source/file"]
    stored = nodes(repository, result.tree)[b"source/file"]
    assert content(repository, stored) == (source_folder / "file").read_bytes()
    second = run_backup(repository, folder_source(), parent=result.snapshot_id)
    assert second.complete
    assert contents_below(repository, second.tree) == {b"source/file": (source_folder / "file").read_bytes()}


def test_a_file_whose_reading_fails_is_left_out_and_its_blobs_stay_good(source_folder: Path) -> None:
    fill(source_folder, {"bad": LARGE + LARGE[::-1], "copy": LARGE + LARGE[::-1], "kept": b"x"})
    count = [0]

    def reading(path: bytes) -> None:
        if path.endswith(b"/bad"):
            count[0] += 1
            if count[0] == 2:
                raise OSError(5, "Input/output error")

    repository = new_repository(MemoryStore())
    result = run_backup(repository, MeddledSource(folder_source(), reading=reading))
    assert [(path.removeprefix("/"), message) for path, message in result.problems] == [
        ("source/bad", "Input/output error")
    ]
    assert set(contents_below(repository, result.tree)) == {b"source/copy", b"source/kept"}
    assert_whole(reopened(repository))


CHANGES_BEFORE_ENTERING: dict[str, Callable[[Path], None]] = {
    "vanishes": lambda path: (path / "in").unlink() or path.rmdir(),  # type: ignore[func-returns-value]
    "becomes a link": lambda path: path.rename(path.with_name("moved")) and path.symlink_to("/etc"),
    "becomes a file": lambda path: path.rename(path.with_name("moved")) and _to_file_again(path),
    "becomes another folder": lambda path: path.rename(path.with_name("moved")) and path.mkdir(),
}


def _to_file_again(path: Path) -> None:
    path.write_bytes(b"now a file")


@pytest.mark.parametrize("change", CHANGES_BEFORE_ENTERING)
@pytest.mark.parametrize("deep", [False, True])
def test_a_folder_that_turns_into_something_else_before_it_is_entered_is_named(
    source_folder: Path, change: str, deep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the top, where folders are shared out, and below, where one process walks them."""
    if deep:
        monkeypatch.setattr(archiver, "UNITS", 1)
    fill(source_folder, {"above/folder/in": b"x", "kept": b"kept"})

    def entering(path: bytes) -> None:
        if path == b"source/above/folder":
            CHANGES_BEFORE_ENTERING[change](source_folder / "above" / "folder")

    repository = new_repository(MemoryStore())
    result = run_backup(repository, MeddledSource(folder_source(), entering=entering))
    assert [path.removeprefix("/") for path, _ in result.problems] == ["source/above/folder"]
    stored = nodes(repository, result.tree)
    assert b"source/kept" in stored
    assert not [path for path in stored if path.startswith(b"source/above/folder")]


def test_a_folder_deeper_than_any_path_may_be_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    depth = 700
    _make_deep(b"source", depth)
    repository = new_repository(MemoryStore())
    result = run_backup(repository, folder_source())
    assert result.problems == []
    assert result.counts.total_files_processed == depth
    second = run_backup(reopened(repository), folder_source(), parent=result.snapshot_id, workers=2)
    assert second.tree == result.tree


def test_a_folder_deeper_than_we_go_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _make_deep(b"source", 1100)
    (tmp_path / "source" / "kept").write_bytes(b"x")
    repository = new_repository(MemoryStore())
    result = run_backup(repository, folder_source(), workers=2)
    assert len(result.problems) == 1
    assert b"source/kept" in dict(_first_levels(repository, result.tree))


def _first_levels(repository: Repository, tree_id: str) -> list[tuple[bytes, object]]:
    from backups.engine.tree import decode_tree

    found: list[tuple[bytes, object]] = []
    for node in decode_tree(repository.load_tree(tree_id)):
        found.append((node.raw_name, node))
        if node.subtree:
            found += [
                (node.raw_name + b"/" + inner.raw_name, inner)
                for inner in decode_tree(repository.load_tree(node.subtree))
            ]
    return found


def _make_deep(path: bytes, depth: int) -> None:
    os.mkdir(path)
    here = os.open(path, os.O_RDONLY)
    for number in range(depth):
        file = os.open(b"f", os.O_CREAT | os.O_WRONLY, dir_fd=here)
        os.write(file, b"%d" % number)
        os.close(file)
        os.mkdir(b"d", dir_fd=here)
        below = os.open(b"d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


# ---------------------------------------------------------------------- streams


class Dump:
    """A stream in odd pieces that may fail at its end."""

    def __init__(self, data: bytes, fails: bool = False) -> None:
        self._data, self._fails, self._rng = data, fails, random.Random(1)

    def read(self, size: int, /) -> bytes:
        count = min(size, self._rng.randint(1, 300_000))
        piece, self._data = self._data[:count], self._data[count:]
        return piece

    def close(self) -> None:
        if self._fails:
            raise SourceProblem("the dump ended with status 1")


def _dumps(dumps: dict[bytes, Dump]) -> Source:
    def members(_: object) -> list[object]:
        def start(name: bytes) -> Callable[[], Dump]:
            return lambda: dumps[name]

        files = [StreamFile(name, start(name), mtime=10**18 + 7) for name in dumps]
        return [VirtualFolder.plain(b"databases", files, mtime=10**18)]  # type: ignore[arg-type]

    return ComposedSource(members)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 524_287, 524_288, 524_289, 3_000_000])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_of_unknown_size_is_cut_as_the_same_file_would_be(
    source_folder: Path, tmp_path: Path, size: int, workers: int
) -> None:
    data = (LARGE * 3)[:size]
    (source_folder / "file").write_bytes(data)
    repository = new_repository(MemoryStore())
    result = run_backup(repository, _dumps({b"a": Dump(data), b"b": Dump(data)}), workers=workers)
    assert result.complete
    stored = nodes(repository, result.tree)
    assert content(repository, stored[b"databases/a"]) == data
    assert stored[b"databases/b"].content == stored[b"databases/a"].content
    assert parse_time(stored[b"databases/a"].mtime) == 10**18 + 7
    as_file = run_backup(repository, folder_source())
    assert nodes(repository, as_file.tree)[b"source/file"].content == stored[b"databases/a"].content
    assert as_file.counts.data_blobs == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_that_fails_at_its_end_is_left_out_and_named(tmp_path: Path, workers: int) -> None:
    repository = new_repository(MemoryStore())
    dumps = {b"bad": Dump(LARGE, fails=True), b"good": Dump(b"whole")}
    result = run_backup(repository, _dumps(dumps), workers=workers)
    assert [(path.removeprefix("/"), message) for path, message in result.problems] == [
        ("databases/bad", "the dump ended with status 1")
    ]
    assert contents_below(repository, result.tree) == {b"databases/good": b"whole"}


# ---------------------------------------------------------------------- stopping, and the order of things


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cancelled_run_shows_no_snapshot_and_leaves_no_helper(
    awkward_tree: bytes, tmp_path: Path, workers: int
) -> None:
    repository = new_repository(MemoryStore())
    cancel = CancelToken()

    def stop(_: bytes) -> None:
        cancel.cancel()

    before = children()
    with pytest.raises(Canceled):
        run_backup(repository, MeddledSource(FolderSource([awkward_tree]), listed=stop), cancel=cancel, workers=workers)
    assert not repository.ids(SNAPSHOTS)
    assert_whole(reopened(repository))
    assert children() <= before
    done = run_backup(reopened(repository), FolderSource([awkward_tree]), workers=workers)
    assert done.complete


def test_a_lost_lock_stops_before_the_snapshot(source_folder: Path) -> None:
    fill(source_folder, {"a": b"x"})
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))

    def guard() -> None:
        if any(key.startswith(INDEX) for key in objects):
            raise LockLost("lost")

    with pytest.raises(LockLost):
        run_backup(repository, folder_source(), guard=guard)
    assert not any(key.startswith(SNAPSHOTS) for key in objects)


@pytest.mark.parametrize("workers", [0, 2])
def test_packs_come_before_the_index_that_names_them_and_the_snapshot_comes_last(
    awkward_tree: bytes, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver, "CHECKPOINT_SECONDS", 0)
    store = CountingStore(MemoryStore(), {"put"})
    repository = new_repository(store)
    store.log.clear()
    run_backup(repository, FolderSource([awkward_tree]), workers=workers, workspace=tmp_path)
    keys = [key for _, key in store.log]
    assert keys[-1].startswith(SNAPSHOTS)
    there: set[str] = set()
    from backups.engine.index_file import decode_index

    for key in keys:
        there.add(key)
        if key.startswith(INDEX):
            for pack_id, _ in decode_index(repository.load_object(INDEX, key.rsplit("/", 1)[-1])):
                assert object_key(DATA, pack_id.hex()) in there
    assert {key for key in keys if key.startswith(DATA)} == {
        object_key(DATA, pack.hex()) for pack in reopened(repository).index.packs
    }


def test_a_killed_helper_ends_the_run_without_a_snapshot(awkward_tree: bytes, tmp_path: Path) -> None:
    repository = new_repository(MemoryStore())
    parent = os.getpid()

    def die(_: bytes) -> None:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerDied):
        run_backup(repository, MeddledSource(FolderSource([awkward_tree]), opening=die), workers=2)
    assert not repository.ids(SNAPSHOTS)
    assert run_backup(reopened(repository), FolderSource([awkward_tree]), workers=2).complete


def test_an_error_of_our_own_in_a_helper_is_told_with_its_cause(awkward_tree: bytes, tmp_path: Path) -> None:
    repository = new_repository(MemoryStore())

    def wrong(path: bytes) -> None:
        raise ZeroDivisionError("a mistake of ours")

    with pytest.raises(EngineError, match="a mistake of ours"):
        run_backup(repository, MeddledSource(FolderSource([awkward_tree]), opening=wrong), workers=2)
    assert not repository.ids(SNAPSHOTS)


@pytest.mark.parametrize("workers", [0, 2])
def test_progress_ends_with_everything_and_names_problems(source_folder: Path, tmp_path: Path, workers: int) -> None:
    fill(source_folder, {f"{n}/{m}": b"12345" for n in range(40) for m in range(5)})
    seen: list[tuple[int, int]] = []

    class Watching(Silent):
        def update(self, *, files: int = 0, bytes: int = 0, **_: object) -> None:
            seen.append((files, bytes))

    def opening(path: bytes) -> None:
        if path == b"source/7/3":
            os.unlink(path)

    progress = Watching()
    repository = new_repository(MemoryStore())
    result = run_backup(repository, MeddledSource(folder_source(), opening=opening), workers=workers, progress=progress)
    assert seen == sorted(seen)
    assert seen[-1] == (199, 199 * 5)
    assert progress.problems == result.problems
    assert len(result.problems) == 1


# ---------------------------------------------------------------------- root reads as root


def test_a_link_to_a_strangers_file_is_refused(public_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        missing("making another user's files needs root")
    from backups.sources import FolderOptions

    monkeypatch.chdir(public_folder)
    fill(public_folder / "source", {"own": b"own", "twice": b"twice"})
    (public_folder / "secret").write_bytes(b"another user's")
    for name in ("own", "twice"):
        os.chown(public_folder / "source" / name, NOBODY, NOBODY)
    os.link(public_folder / "source" / "twice", public_folder / "source" / "thrice")
    os.link(public_folder / "secret", public_folder / "source" / "stolen")
    repository = new_repository(MemoryStore())
    source = FolderSource([b"source"], FolderOptions(owners=frozenset([NOBODY])))
    result = run_backup(repository, source)
    assert [path.removeprefix("/") for path, _ in result.problems] == ["source/stolen"]
    assert contents_below(repository, result.tree) == {
        b"source/own": b"own",
        b"source/twice": b"twice",
        b"source/thrice": b"twice",
    }


def test_packs_that_a_killed_run_left_waiting_are_removed_by_a_later_one(tmp_path: Path) -> None:
    def spools() -> set[str]:
        return {path.name for path in tmp_path.iterdir()}

    living = Spool(tmp_path, 1)
    (there,) = spools()
    for name, age in (("holdfast-packs-dead", 4000), ("holdfast-packs-young", 10), ("others", 4000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pack").write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    (tmp_path / "holdfast-packs-link").symlink_to(tmp_path / "others")
    os.utime(tmp_path / there, (1, 1))
    Spool(tmp_path, 1).close()
    assert spools() == {there, "holdfast-packs-young", "holdfast-packs-link", "others"}
    assert (tmp_path / "others" / "pack").exists()
    living.close()
    assert there not in spools()

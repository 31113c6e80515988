"""What a folder source lists, under which names, and that nobody can make it read what he may not."""

from __future__ import annotations

import itertools
import os
import random
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine import Entry, SourceFolder, SourceProblem
from backups.engine.blob import BlobType
from backups.engine.patterns import Patterns
from backups.engine.tree import decode_tree
from backups.sources import FolderOptions, FolderSource
from backups.sources.filesystem import CACHE_SIGNATURE, entry_of, read_xattrs
from destinations.storage.memory import MemoryStore
from tests.engine import swapper
from tests.engine.repositories import new_repository
from tests.engine.running import contents_below, in_child, nodes, run_backup
from tests.needs import missing


def listing(source: FolderSource) -> tuple[list[bytes], list[tuple[bytes, str]]]:
    """Every path a source yields, depth first, and the problems it tells."""
    problems: list[tuple[bytes, str]] = []

    def below(folder: SourceFolder, path: bytes) -> Iterator[bytes]:
        for entry in folder.entries():
            here = path + b"/" + entry.name if path else entry.name
            yield here
            if entry.kind == "dir":
                inner = folder.enter(entry)
                yield from below(inner, here)
                inner.close()

    root = source.root(lambda path, error: problems.append((path, str(error))))
    return list(below(root, b"")), problems


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder ``top/work`` with a few files, above and beside it as well."""
    work = tmp_path / "top" / "work"
    for name in ("a/b/f", "a/c/f", "a/f", "d/f", "z"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(name.encode())
    for name in ("a/outer", "e"):
        (work.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (work.parent / name).write_bytes(name.encode())
    (work / "link").symlink_to("a")
    monkeypatch.chdir(work)
    return work


ALL_OF_A = [b"a", b"a/b", b"a/b/f", b"a/c", b"a/c/f", b"a/f"]
LAYOUTS: dict[str, tuple[list[str], list[bytes]]] = {
    "one below its own name": (["a"], ALL_OF_A),
    "dots and slashes vanish": (["./a//", "a/."], ALL_OF_A),
    "part of a folder": (["a/b"], [b"a", b"a/b", b"a/b/f"]),
    "a file": (["a/f"], [b"a", b"a/f"]),
    "two parts of one folder": (["a/b", "a/f"], [b"a", b"a/b", b"a/b/f", b"a/f"]),
    "a part of what is there already": (["a", "a/b"], ALL_OF_A),
    "the whole after its part": (["a/b", "a"], ALL_OF_A),
    "the same twice": (["z", "z", "./z"], [b"z"]),
    "from above": (["../e"], [b"e"]),
    "the same name from two roots": (
        ["d", "../a", "a"],
        [b"a", b"a/outer", *[b"a-1" + p[1:] for p in ALL_OF_A], b"d", b"d/f"],
    ),
    "the folder itself": (["."], [*ALL_OF_A, b"d", b"d/f", b"link", b"z"]),
    "the folder above": (
        [".."],
        [b"a", b"a/outer", b"e", b"work", *[b"work/" + p for p in [*ALL_OF_A, b"d", b"d/f", b"link", b"z"]]],
    ),
    "a link is kept as one": (["link"], [b"link"]),
    "a folder through a link": (["link/b"], [b"link", b"link/b", b"link/b/f"]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_paths_are_laid_out_as_the_format_does(here: Path, name: str) -> None:
    paths, expected = LAYOUTS[name]
    found, problems = listing(FolderSource([path.encode() for path in paths]))
    assert problems == []
    assert found == expected


def test_an_absolute_path_stands_below_its_parents_names(here: Path) -> None:
    found, problems = listing(FolderSource([os.fsencode(here / "a" / "b")]))
    parts = [*os.fsencode(here).strip(b"/").split(b"/"), b"a", b"b", b"f"]
    assert found == list(itertools.accumulate(parts, lambda above, name: above + b"/" + name))
    assert problems == []


def test_folders_above_a_target_have_their_own_metadata_and_nothing_else_of_theirs(here: Path) -> None:
    (here / "a").chmod(0o751)
    os.utime(here / "a", ns=(1, 123_456_789))
    repository = new_repository(MemoryStore())
    stored = nodes(repository, run_backup(repository, FolderSource([b"a/b"])).tree)
    assert stored.keys() == {b"a", b"a/b", b"a/b/f"}
    assert stored[b"a"].mtime == "1970-01-01T00:00:00.123456789Z"
    assert stored[b"a"].mode & 0o777 == 0o751
    assert stored[b"a"].inode == (here / "a").stat().st_ino


def test_a_missing_path_is_told_and_leaves_no_trace(here: Path) -> None:
    found, problems = listing(FolderSource([b"a/b", b"d/gone/deeper", b"nowhere"]))
    assert found == [b"a", b"a/b", b"a/b/f"]
    assert [path for path, _ in problems] == [b"d/gone/deeper", b"nowhere"]


def test_sockets_are_left_out_without_a_word(here: Path) -> None:
    from tests.engine.awkward import _make_socket

    _make_socket(os.fsencode(here / "d"))
    assert stat.S_ISSOCK((here / "d" / "socket").lstat().st_mode)
    found, problems = listing(FolderSource([b"d"]))
    assert (found, problems) == ([b"d", b"d/f"], [])


@given(
    st.sets(
        st.binary(min_size=1, max_size=12).filter(lambda name: not set(name) & {0, 47} and name not in (b".", b".."))
    )
)
def test_names_come_sorted_as_bytes(tmp_path_factory: pytest.TempPathFactory, names: set[bytes]) -> None:
    folder = os.fsencode(tmp_path_factory.mktemp("names"))
    for name in names:
        os.close(os.open(folder + b"/" + name, os.O_CREAT | os.O_WRONLY))
    opened = FolderSource([folder + b"/."]).root(lambda path, error: pytest.fail(str(error)))
    for part in folder.strip(b"/").split(b"/"):
        opened = opened.enter(next(entry for entry in opened.entries() if entry.name == part))
    assert [entry.name for entry in opened.entries()] == sorted(names)


# ---------------------------------------------------------------------- what is left out


def patterns(*lines: str) -> Callable[[bytes, bool], bool]:
    wanted = Patterns(list(lines))
    return lambda path, _is_folder: wanted.matches_entry(path)


def test_excluded_items_are_left_out_with_all_below_them(here: Path) -> None:
    options = FolderOptions(excluded=patterns("b", "*/d/f"))
    found, _ = listing(FolderSource([b"a", b"d"], options))
    assert found == [b"a", b"a/c", b"a/c/f", b"a/f", b"d"]


def test_excluding_asks_for_the_absolute_path(here: Path) -> None:
    asked: list[bytes] = []

    def excluded(path: bytes, is_folder: bool) -> bool:
        asked.append(path)
        return path == os.fsencode(here / "a" / "c") and is_folder

    found, _ = listing(FolderSource([b"a"], FolderOptions(excluded=excluded)))
    assert found == [b"a", b"a/b", b"a/b/f", b"a/f"]
    assert all(path.startswith(os.fsencode(here)) for path in asked)


def test_a_tagged_cache_keeps_only_its_tag(here: Path) -> None:
    (here / "a" / "b" / "CACHEDIR.TAG").write_bytes(CACHE_SIGNATURE + b"\n# more")
    (here / "a" / "c" / "CACHEDIR.TAG").write_bytes(b"not the signature")
    found, _ = listing(FolderSource([b"a"], FolderOptions(exclude_caches=True)))
    assert found == [b"a", b"a/b", b"a/b/CACHEDIR.TAG", b"a/c", b"a/c/CACHEDIR.TAG", b"a/c/f", b"a/f"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("loop", path)])
def test_a_cache_tag_that_is_no_file_holds_nothing_up(here: Path, make: Callable[[str], None]) -> None:
    make(str(here / "d" / "CACHEDIR.TAG"))
    found, _ = listing(FolderSource([b"d"], FolderOptions(exclude_caches=True)))
    assert found == [b"d", b"d/CACHEDIR.TAG", b"d/f"]


def _mount_points() -> list[tuple[bytes, bytes]]:
    """Folders of this machine with another file system mounted in them, each with its parent."""
    found = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        place = line.split(b" ")[4]
        above = os.path.dirname(place)
        try:
            inner, outer = os.lstat(place), os.lstat(above)
            readable = bool(os.listdir(place)) and len(os.listdir(above)) < 500
        except OSError:
            continue
        if above not in (b"/", b"") and stat.S_ISDIR(inner.st_mode) and inner.st_dev != outer.st_dev and readable:
            found.append((above, place))
    return found


def test_another_file_system_is_kept_as_an_empty_folder() -> None:
    points = _mount_points()
    if not points:
        missing("no file system is mounted below a folder that can be read")
    above, place = points[0]

    def items(options: FolderOptions) -> tuple[Entry, list[Entry]]:
        folder = FolderSource([above], options).root(lambda path, error: None)
        for part in above.strip(b"/").split(b"/"):
            folder = folder.enter(next(entry for entry in folder.entries() if entry.name == part))
        entry = next(entry for entry in folder.entries() if entry.name == os.path.basename(place))
        return entry, folder.enter(entry).entries()

    entry, inside = items(FolderOptions(one_file_system=True))
    assert entry.kind == "dir"
    assert inside == []
    assert items(FolderOptions())[1]


def test_attributes_can_be_left_out(here: Path) -> None:
    try:
        os.setxattr(here / "z", "user.a", b"v")
    except OSError:
        missing("no extended attributes on this file system")
    for wanted, expected in ((True, [(b"user.a", b"v")]), (False, [])):
        root = FolderSource([b"z"], FolderOptions(xattrs=wanted)).root(lambda path, error: None)
        file = root.open(root.entries()[0])
        assert [item for item in file.entry.xattrs if item[0].startswith(b"user.")] == expected
        file.close()


# ---------------------------------------------------------------------- one folder's items, opened


@pytest.fixture
def opened(here: Path) -> SourceFolder:
    """The folder ``a``, opened."""
    root = FolderSource([b"a"]).root(lambda path, error: pytest.fail(f"{path!r}: {error}"))
    return root.enter(root.entries()[0])


def _entry(folder: SourceFolder, name: bytes) -> Entry:
    return next(entry for entry in folder.entries() if entry.name == name)


def test_an_open_file_says_what_it_was_when_it_was_opened(here: Path, opened: SourceFolder) -> None:
    entry = _entry(opened, b"f")
    (here / "a" / "f").write_bytes(b"longer than before")
    file = opened.open(entry)
    assert file.entry.size == 18
    assert not file.changed()
    assert file.read(6) == b"longer"
    with open(here / "a" / "f", "ab") as other:
        other.write(b"!")
    assert file.changed()
    file.close()


def test_no_listed_item_is_followed_once_it_is_a_link(here: Path, opened: SourceFolder) -> None:
    file, folder = _entry(opened, b"f"), _entry(opened, b"b")
    (here / "a" / "f").unlink()
    (here / "a" / "f").symlink_to(here / "z")
    (here / "a" / "b").rename(here / "moved")
    (here / "a" / "b").symlink_to(here / "moved")
    with pytest.raises(SourceProblem):
        opened.open(file)
    with pytest.raises(SourceProblem):
        opened.enter(folder)


def test_a_file_replaced_by_a_hard_link_to_another_is_not_read(here: Path, opened: SourceFolder) -> None:
    file = _entry(opened, b"f")
    (here / "a" / "f").unlink()
    os.link(here / "z", here / "a" / "f")
    with pytest.raises(SourceProblem):
        opened.open(file)


def test_a_pipe_in_the_place_of_a_file_is_never_waited_for(here: Path, opened: SourceFolder) -> None:
    file = _entry(opened, b"f")
    (here / "a" / "f").unlink()
    os.mkfifo(here / "a" / "f")
    began = time.monotonic()
    with pytest.raises(SourceProblem):
        opened.open(file)
    assert time.monotonic() - began < 10


def test_a_folder_moved_away_is_still_the_one_that_was_opened(here: Path, opened: SourceFolder) -> None:
    inner = opened.enter(_entry(opened, b"b"))
    (here / "a" / "b").rename(here / "elsewhere")
    (here / "a" / "b").symlink_to("/etc")
    assert [entry.name for entry in inner.entries()] == [b"f"]
    file = inner.open(inner.entries()[0])
    assert file.read(10) == b"a/b/f"
    file.close()


def test_no_descriptor_stays_open(here: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    repository = new_repository(MemoryStore())
    run_backup(repository, FolderSource([b"a", b"d"]))
    assert count() == before


def test_a_usual_limit_of_open_files_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many folders at the top, each deep: what the coordinator holds open and what a helper does must fit together."""
    monkeypatch.chdir(tmp_path)
    for number in range(60):
        (tmp_path / "source" / f"{number:02}" / "x" / "y").mkdir(parents=True)
    here = os.open(tmp_path / "source" / "30" / "x", os.O_RDONLY)
    for _ in range(790):
        os.mkdir(b"d", dir_fd=here)
        below = os.open(b"d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)

    def work() -> list[tuple[str, str]]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
        return run_backup(new_repository(MemoryStore()), FolderSource([b"source"]), workers=2).problems

    try:
        assert in_child(work) == []
    finally:
        # Too deep for the recursive removal of temporary folders by the test runner.
        subprocess.run(["rm", "-rf", str(tmp_path / "source")], check=True)


def test_entries_of_what_is_never_stored_are_none() -> None:
    here, there = os.stat("/"), list(os.stat("/"))
    there[0] = stat.S_IFSOCK | 0o777
    assert entry_of(b"socket", os.stat_result(there)) is None
    assert entry_of(b"folder", here) is not None


def test_attributes_of_a_file_system_without_any_are_none() -> None:
    assert list(read_xattrs(b"/proc/self/status")) == []


# ---------------------------------------------------------------------- the race


@contextmanager
def swapping(folder: Path, *names: str) -> Iterator[None]:
    """A second process that exchanges the named pairs all the time."""
    process = subprocess.Popen(
        [sys.executable, swapper.__file__, str(folder), *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield
        process.stdin.close()
        assert int(process.stdout.readline()) > 100
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


SECRET = random.Random(99).randbytes(48)


def _battlefield(tmp_path: Path) -> Path:
    """A home with folders and files to be exchanged for links to a victim's."""
    victim = tmp_path / "victim"
    (victim / "inner").mkdir(parents=True)
    (victim / "secret-file").write_bytes(SECRET)
    (victim / "inner" / "secret-file").write_bytes(SECRET)
    home = tmp_path / "home"
    for name in ("folder/inner", "deep/x/inner"):
        (home / name).mkdir(parents=True)
        (home / name / "own").write_bytes(b"own")
    (home / "evil-folder").symlink_to(victim)
    (home / "deep" / "evil").symlink_to(victim)
    (home / "file").write_bytes(b"own")
    (home / "evil-file").symlink_to(victim / "secret-file")
    (home / "other").write_bytes(b"own")
    os.mkfifo(home / "pipe")
    return home


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_of_a_victim_is_ever_stored_however_fast_names_are_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    home = _battlefield(tmp_path)
    monkeypatch.chdir(tmp_path)
    repository = new_repository(MemoryStore())
    kinds: set[tuple[bytes, str]] = set()
    caught = 0
    pairs = ["folder", "evil-folder", "file", "evil-file", "deep/x", "deep/evil", "other", "pipe"]
    with swapping(home, *pairs):
        end = time.monotonic() + (3 if workers else 2)
        while time.monotonic() < end:
            result = run_backup(repository, FolderSource([b"home"]), workers=workers)
            caught += len(result.problems)
            kinds |= {(path, node.type) for path, node in nodes(repository, result.tree).items()}
    assert not [path for path, _ in kinds if b"secret" in path]
    for kind, blob_id, _ in repository.index.items():
        plain = repository.load_blob(kind, blob_id)
        assert SECRET not in plain
        if kind == BlobType.TREE:
            assert not [node for node in decode_tree(plain) if "secret" in node.name]
    # It was a race: both states were seen, and some runs were caught in between.
    assert {(b"home/folder", "dir"), (b"home/folder", "symlink"), (b"home/file", "symlink")} <= kinds
    assert caught


def test_a_home_whose_owner_plays_is_saved_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = _battlefield(tmp_path)
    for number in range(50):
        (home / f"calm-{number}").write_bytes(b"%d" % number)
    monkeypatch.chdir(tmp_path)
    repository = new_repository(MemoryStore())
    with swapping(home, "folder", "evil-folder", "file", "evil-file"):
        for _ in range(5):
            result = run_backup(repository, FolderSource([b"home"]))
            stored = contents_below(repository, result.tree)
            assert {b"home/calm-%d" % n for n in range(50)} <= stored.keys()

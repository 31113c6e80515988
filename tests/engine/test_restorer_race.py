"""A restore into a tree whose owner plays against it: whatever he does, nothing outside changes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from backups.engine import restore_large, restore_worker
from backups.engine.blob import BlobType
from backups.engine.layout import SNAPSHOTS
from backups.engine.names import name_json
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot, encode_snapshot
from backups.engine.tree import encode_dir_node, encode_file_node, encode_special_node, encode_tree, go_mode, owner_json
from destinations.storage.local import LocalStore
from restores.targets.folder import FolderTarget
from restores.targets.removal import remove
from tests.engine import hostile_owner
from tests.engine.repositories import TIME, Writer, new_repository, noise
from tests.engine.restoring import restore_to

OWNER = owner_json(1234, 1234, "", "")
SECONDS = 2.0
KNOWN = b"a program everybody has\n" * 50
"""What the victim's file and a file of the snapshot both hold: an equal file need not be written."""


@contextmanager
def enemy(*arguments: str) -> Iterator[list[int]]:
    """A second process that does its worst; afterwards the list holds how often it did."""
    process = subprocess.Popen(
        [sys.executable, hostile_owner.__file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    done: list[int] = []
    try:
        assert process.stdout.readline() == b"ready\n"
        yield done
        process.stdin.close()
        done.append(int(process.stdout.readline()))
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def put_tree(writer: Writer, depth: int) -> str:
    """Files, a link, names of one file, a large file and folders, all with an owner and mode worth having."""
    nodes = []
    for name, content, links in (
        (b"file", [KNOWN], 1),
        (b"hard-1", [b"linked"], 2),
        (b"hard-2", [b"linked"], 2),
        (b"large", [noise(number, 4096) for number in range(50)], 1),
        (b"other", [b"other"], 1),
    ):
        ids = [writer.blob(BlobType.DATA, chunk).hex() for chunk in content]
        size = sum(map(len, content))
        nodes.append(encode_file_node(name_json(name), go_mode(0o104777), TIME, TIME, OWNER, 7, 7, size, links, ids))
    nodes.append(
        encode_special_node(name_json(b"points"), "symlink", go_mode(0o120777), TIME, TIME, OWNER, 1, 1, 1, b"other")
    )
    nodes.append(encode_special_node(name_json(b"queue"), "fifo", go_mode(0o10666), TIME, TIME, OWNER, 1, 1))
    if depth:
        for name in (b"sub", b"x"):
            below = put_tree(writer, depth - 1)
            nodes.append(encode_dir_node(name_json(name), go_mode(0o40777), TIME, TIME, OWNER, 2, 1, below))
    nodes.sort(key=lambda node: node.split(b'"')[3])
    return writer.blob(BlobType.TREE, encode_tree(nodes)).hex()


def put_many(writer: Writer) -> str:
    """A folder of items that are made under a temporary name."""
    ids = [writer.blob(BlobType.DATA, noise(number, 4096)).hex() for number in range(40)]
    nodes = []
    for number in range(40):
        pipe, link = name_json(b"pipe-%d" % number), name_json(b"to-%d" % number)
        nodes.append(encode_special_node(pipe, "fifo", go_mode(0o10666), TIME, TIME, OWNER, 1, 1))
        nodes.append(encode_special_node(link, "symlink", go_mode(0o120777), TIME, TIME, OWNER, 1, 1, 1, b"x"))
        if number % 4 == 0:
            name = name_json(b"large-%d" % number)
            nodes.append(encode_file_node(name, go_mode(0o104777), TIME, TIME, OWNER, 7, 7, 40 * 4096, 1, ids))
    nodes.sort(key=lambda node: node.split(b'"')[3])
    return writer.blob(BlobType.TREE, encode_tree(nodes)).hex()


def put_nested(writer: Writer) -> str:
    """Three levels of folders of every kind of item."""
    return put_tree(writer, 2)


def make_repository(path: Path, put: Callable[[Writer], str] = put_nested) -> Repository:
    repository = new_repository(LocalStore(path))
    writer = Writer(repository)
    tree = writer.above(put(writer), "home")
    writer.flush()
    snapshot = Snapshot(time=TIME, tree=tree, paths=["/home"], hostname="host")
    repository.save_object(SNAPSHOTS, encode_snapshot(snapshot))
    return repository


def make_victim(path: Path) -> None:
    """Folders and files of the very names that are restored, so that a followed link would hit them."""
    for folder in ("", "sub", "x", "sub/sub", "sub/x", "x/sub", "x/x"):
        (path / folder).mkdir(mode=0o755)
        for name in ("file", "hard-1", "large", "other", "precious"):
            (path / folder / name).write_bytes(KNOWN)
            os.utime(path / folder / name, (7, 7))
            (path / folder / name).chmod(0o4755)
    for found in sorted(path.rglob("*"), reverse=True):
        if found.is_dir():
            os.utime(found, (7, 7))
    os.utime(path, (7, 7))


def state(path: Path) -> list[tuple[str, int, int, int, int, int, bytes]]:
    """All that an attack could change: names, kinds, modes, owners, times, contents."""
    found = []
    for item in [path, *sorted(path.rglob("*"))]:
        info = item.lstat()
        content = item.read_bytes() if stat.S_ISREG(info.st_mode) else b""
        found.append((str(item), info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns, info.st_ino, content))
    return found


@pytest.fixture
def field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(restore_large, "_PART", 1 << 15)
    monkeypatch.setattr(restore_large, "_LARGE", 1 << 16)
    monkeypatch.setattr(restore_worker, "_LATER", 1 << 15)
    make_victim(tmp_path / "victim")
    home = tmp_path / "out" / "home"
    (home / "sub").mkdir(parents=True)
    (home / "x" / "x").mkdir(parents=True)
    (home / "evil").symlink_to(tmp_path / "victim")
    (home / "x" / "evil").symlink_to(tmp_path / "victim" / "x")
    (home / "file").write_bytes(b"own")
    (home / "hard").hardlink_to(tmp_path / "victim" / "file")
    (home / "other").write_bytes(b"own")
    (home / "evil-link").symlink_to(tmp_path / "victim" / "other")
    (home / "large").write_bytes(b"own")
    (home / "evil-large").symlink_to(tmp_path / "victim" / "large")
    return home


PAIRS = ("sub", "evil", "x/x", "x/evil", "file", "hard", "other", "evil-link", "large", "evil-large")


@pytest.mark.parametrize(
    ("workers", "quick", "overwrite"),
    [(0, True, "always"), (2, True, "if-different"), (0, False, "always"), (2, False, "if-different")],
    ids=["alone", "helpers", "alone, old kernel", "helpers, old kernel"],
)
def test_nothing_of_a_victim_changes_however_fast_names_are_exchanged(
    tmp_path: Path, field: Path, workers: int, quick: bool, overwrite: str
) -> None:
    repository = make_repository(tmp_path / "repository")
    before = state(tmp_path / "victim")
    problems = restored = rounds = 0

    with enemy(str(field), "swap", *PAIRS) as turns:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            target = FolderTarget(tmp_path / "out", quick=quick)
            result = restore_to(repository, target, workers=workers, overwrite=overwrite)
            problems += result.failed
            restored += result.files
            rounds += 1
            assert state(tmp_path / "victim") == before

    assert turns[0] > 200
    assert restored
    # It was a race: some items were caught in between.
    assert problems


def move_in(aside: Path, place: Path) -> None:
    """Put a folder with something in it at a place that may be a link at any moment."""
    with suppress(OSError):
        (aside / "sub" / "deep").mkdir(parents=True, exist_ok=True)
        (aside / "sub" / "file").write_bytes(b"x")
        os.rename(aside, place)


def test_a_mirror_removes_nothing_through_a_link_that_comes_and_goes(tmp_path: Path, field: Path) -> None:
    repository = make_repository(tmp_path / "repository")
    before = state(tmp_path / "victim")
    deleted = 0

    with enemy(str(field / "x"), "swap", "extra", "evil", "sub", "evil"):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            move_in(tmp_path / "aside", field / "x" / "extra")
            deleted += restore_to(repository, tmp_path / "out", delete=True).deleted
            assert state(tmp_path / "victim") == before

    assert deleted


def test_removing_a_tree_follows_no_link_that_comes_and_goes(tmp_path: Path) -> None:
    make_victim(tmp_path / "victim")
    before = state(tmp_path / "victim")
    home = tmp_path / "home"
    home.mkdir()
    (home / "evil").symlink_to(tmp_path / "victim")
    fd = os.open(home, os.O_RDONLY)
    removed = 0

    with enemy(str(home), "swap", "folder", "evil") as swapped:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            move_in(tmp_path / "aside", home / "folder")
            for name in (b"folder", b"evil"):
                with suppress(OSError):
                    removed += remove(fd, name)
            assert state(tmp_path / "victim") == before

    os.close(fd)
    assert removed
    assert swapped[0]


@pytest.mark.parametrize("workers", [0, 2], ids=["alone", "with helpers"])
def test_a_temporary_name_that_is_stolen_gives_nobody_anything(tmp_path: Path, field: Path, workers: int) -> None:
    repository = make_repository(tmp_path / "repository", put_many)
    victim = tmp_path / "victim"
    (victim / "points").symlink_to("precious")
    os.mkfifo(victim / "queue")
    before = state(victim)

    with enemy(str(field), "steal", *(str(victim / name) for name in ("precious", "points", "queue"))) as stolen:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            target = FolderTarget(tmp_path / "out", quick=False)
            restore_to(repository, target, workers=workers)
            assert state(victim) == before
            for path in field.iterdir():
                if not path.is_dir():
                    path.unlink(missing_ok=True)

    assert stolen[0]

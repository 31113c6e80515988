"""Listing a folder and reading a small file: the native way against the one in Python."""

from __future__ import annotations

import os
import random
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from backups.engine import Entry
from backups.sources import listing

pytestmark = pytest.mark.skipif(listing._native is None, reason="the native part was not built")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def _both(fd: int) -> tuple[list[Entry], list[Entry], bool]:
    failed: list[object] = []
    quick, plain = listing.list_folder(fd, lambda *problem: failed.append(problem))
    slow, _ = listing._list_slowly(fd, lambda *problem: failed.append(problem))
    assert not failed
    return quick, slow, plain


def test_an_awkward_folder_reads_alike_both_ways(tmp_path: Path, folder: int) -> None:
    rng = random.Random(1)
    base = os.fsencode(tmp_path) + b"/"
    for name in (b"a", b"B", b"\xff\xfe", b"-", b"...", b"new\nline", "ä€".encode(), b"n" * 255, b" ", b"a.b", b"a-b"):
        with open(base + name, "wb") as file:
            file.write(rng.randbytes(rng.randrange(5000)))
        os.chmod(base + name, rng.randrange(0o10000))
        os.utime(base + name, ns=(5, rng.randrange(-(10**18), 4 * 10**18)))
    os.link(base + b"a", base + b"a-again")
    os.symlink(b"a", base + b"link")
    os.symlink(b"nowhere", base + b"broken")
    os.mkfifo(base + b"pipe")
    os.mkdir(base + b"sub")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind((base + b"socket").decode())
    quick, slow, plain = _both(folder)
    assert quick == slow
    assert not plain
    assert [entry.name for entry in quick] == sorted(set(os.listdir(base)) - {b"socket"})


def test_plain_files_and_folders_are_said_to_be_plain(tmp_path: Path, folder: int) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    quick, slow, plain = _both(folder)
    assert quick == slow
    assert plain


def test_times_beyond_64_bits_of_nanoseconds_are_kept() -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        pytest.skip("no file system in memory")
    path = memory / f"far-{os.getpid()}"
    path.mkdir()
    try:
        (path / "far").write_bytes(b"x")
        os.utime(path / "far", (0, 2**40))
        fd = os.open(path, os.O_RDONLY)
        try:
            quick, slow, _ = _both(fd)
            assert quick == slow
            with pytest.raises(OverflowError):
                _slurp(fd, quick[0])
        finally:
            os.close(fd)
    finally:
        (path / "far").unlink()
        path.rmdir()


def test_a_folder_can_be_listed_again_after_it_changed(tmp_path: Path, folder: int) -> None:
    assert _both(folder)[0] == []
    (tmp_path / "new").touch()
    assert [entry.name for entry in _both(folder)[0]] == [b"new"]


def test_what_is_no_folder_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        with pytest.raises(NotADirectoryError):
            listing.list_folder(fd, lambda *_: None)
    finally:
        os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        listing.list_folder(fd, lambda *_: None)


def test_an_item_that_vanishes_is_told(folder: int, tmp_path: Path) -> None:
    failed: list[bytes] = []
    item = listing._settled(folder, (b"gone", 2), lambda name, error: failed.append(name + str(error.errno).encode()))
    assert (item, failed) == (None, [b"gone2"])


# ---------------------------------------------------------------------- small files


def _one(fd: int, name: bytes) -> Entry:
    return next(entry for entry in listing.list_folder(fd, lambda *_: None)[0] if entry.name == name)


def _slurp(fd: int, entry: Entry, *, single: bool = False, xattrs: bool = True) -> bytes | None:
    assert listing.native_slurp is not None
    listed = entry.inode, entry.device, entry.size, entry.mtime, entry.ctime
    return listing.native_slurp(fd, entry.name, listing.FILE_FLAGS, os.O_NOATIME, *listed, single, xattrs)


def test_a_small_file_is_read_whole(tmp_path: Path, folder: int) -> None:
    (tmp_path / "f").write_bytes(b"content")
    assert _slurp(folder, _one(folder, b"f")) == b"content"


@pytest.mark.parametrize(
    "change", ["longer", "shorter", "touched", "replaced", "link", "folder", "pipe", "gone", "mode"]
)
def test_whatever_is_not_what_was_listed_is_left_to_the_long_way(tmp_path: Path, folder: int, change: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"content")
    (tmp_path / "other").write_bytes(b"content")
    os.utime(path, ns=(1, 1))
    entry = _one(folder, b"f")
    match change:
        case "longer":
            path.write_bytes(b"contents")
        case "shorter":
            path.write_bytes(b"conten")
        case "touched":
            os.utime(path, ns=(2, 2))
        case "mode":
            path.chmod(0o611)
        case "replaced":
            (tmp_path / "other").rename(path)
        case _:
            path.unlink()
            if change == "link":
                path.symlink_to("other")
            elif change == "folder":
                path.mkdir()
            elif change == "pipe":
                os.mkfifo(path)
    assert _slurp(folder, entry) is None


def test_several_links_and_extended_attributes_are_left_to_the_long_way(tmp_path: Path, folder: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"content")
    os.link(path, tmp_path / "g")
    assert _slurp(folder, _one(folder, b"f"), single=True) is None
    assert _slurp(folder, _one(folder, b"f")) == b"content"
    try:
        os.setxattr(path, "user.a", b"1")
    except OSError:
        pytest.skip("no extended attributes here")
    assert _slurp(folder, _one(folder, b"f")) is None
    assert _slurp(folder, _one(folder, b"f"), xattrs=False) == b"content"


def test_no_descriptor_stays_open(tmp_path: Path, folder: int) -> None:
    (tmp_path / "f").write_bytes(b"content")
    entry = _one(folder, b"f")
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(5):
        listing.list_folder(folder, lambda *_: None)
        _slurp(folder, entry)
        entry.size += 1
        _slurp(folder, entry)
        entry.size -= 1
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_kinds_are_those_of_the_format() -> None:
    assert stat.S_IFSOCK not in listing.ENTRY_KINDS

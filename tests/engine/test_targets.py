"""Targets by themselves: what a folder gives and refuses, which metadata a policy lets through."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backups.engine import Entry, TargetProblem
from restores.targets.beneath import Opener
from restores.targets.confine import confine_writes
from restores.targets.folder import FolderTarget, OpenFolder
from restores.targets.paths import checked_name, components, portable_path
from restores.targets.policy import LIKE_RESTIC, account_policy
from restores.targets.removal import remove
from tests.engine.restoring import everything_below, open_descriptors
from tests.engine.running import in_child
from tests.needs import missing

MOMENT = 1_700_000_000_123_456_789
_NO_ID = 0xFFFFFFFF


def entry(name: bytes, kind: Any = "file", mode: int = 0o644, **fields: Any) -> Entry:
    bits = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO}
    chosen = {"uid": os.geteuid(), "gid": os.getegid()} | fields
    return Entry(name, kind, bits.get(kind, stat.S_IFCHR) | mode, MOMENT, 0, **chosen)


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)


def as_root() -> None:
    if os.geteuid():
        missing("giving files to others needs root")


def can_set(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
        os.removexattr(path, name)
    except OSError:
        missing(f"no {name} on this file system")


@pytest.fixture(params=[True, False], ids=["new kernel", "old kernel"])
def top(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenFolder]:
    """The open top folder of a target at ``out``."""
    target = FolderTarget(tmp_path / "out", quick=request.param)
    folder = target.folder(b"")
    yield folder
    folder.close()
    target.close()


# ---------------------------------------------------------------------- new files


def test_nobody_sees_a_file_before_it_is_finished(top: OpenFolder, tmp_path: Path) -> None:
    (tmp_path / "out" / "file").write_bytes(b"old")
    file = top.create(entry(b"file"))
    file.write(b"new content", 0)
    assert (tmp_path / "out" / "file").read_bytes() == b"old"

    file.finish(entry(b"file"))

    assert (tmp_path / "out" / "file").read_bytes() == b"new content"
    assert (tmp_path / "out" / "file").stat().st_mtime_ns == MOMENT
    assert everything_below(tmp_path / "out") == ["file"]


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_that_is_not_finished_vanishes(top: OpenFolder, tmp_path: Path, shared: bool) -> None:
    file = top.create(entry(b"file"), 100, shared=shared)
    file.write(b"half", 0)
    file.close()
    file.close()

    assert everything_below(tmp_path / "out") == []


def test_a_shared_file_is_written_from_two_sides(top: OpenFolder, tmp_path: Path) -> None:
    file = top.create(entry(b"file"), 10, shared=True)
    other = top.join(file.token)
    other.write(b"56789", 5)
    other.close()
    file.write(b"01234", 0)
    file.finish(entry(b"file"))

    assert (tmp_path / "out" / "file").read_bytes() == b"0123456789"
    assert everything_below(tmp_path / "out") == ["file"]


def test_joining_opens_nothing_but_the_file_that_was_begun(top: OpenFolder, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    file = top.create(entry(b"file"), 10, shared=True)
    name = next((tmp_path / "out").iterdir())
    name.unlink()
    name.hardlink_to(victim)

    with pytest.raises(TargetProblem):
        top.join(file.token)
    name.unlink()
    name.symlink_to(victim)
    with pytest.raises(OSError):
        top.join(file.token)
    file.close()
    assert victim.read_bytes() == b"precious"


def test_a_file_is_written_where_there_are_no_files_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refusing(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real(path, flags, *args, **options)

    folder = FolderTarget(tmp_path).folder(b"")
    monkeypatch.setattr(os, "open", refusing)
    folder.put(entry(b"one"), b"1")
    file = folder.create(entry(b"two"))
    file.write(b"2", 0)
    file.finish(entry(b"two"))

    assert everything_below(tmp_path) == ["one", "two"]


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"/etc", b"zero\0"])
def test_no_method_takes_a_name_that_leads_elsewhere(top: OpenFolder, tmp_path: Path, name: bytes) -> None:
    (tmp_path / "out" / "first").write_bytes(b"x")
    file = top.create(entry(b"x"))
    attempts: list[Callable[[], object]] = [
        lambda: top.put(entry(name), b"data"),
        lambda: file.finish(entry(name)),
        lambda: top.make(entry(name, "symlink", target=b"x")),
        lambda: top.make_folder(name),
        lambda: top.link(name, b"first"),
        lambda: top.remove(name),
        lambda: top.old_file(name),
        lambda: top.update(entry(name)) or top.old_file(name),
    ]
    for attempt in attempts:
        with pytest.raises(TargetProblem):
            attempt()
    file.close()
    assert everything_below(tmp_path) == ["out", "out/first"]


def test_a_path_with_dots_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    target = FolderTarget(tmp_path / "out")
    for path in (b"..", b"a/../..", b"/", b"a//b", b"./a"):
        with pytest.raises(TargetProblem):
            target.folder(path)
        with pytest.raises(TargetProblem):
            FolderTarget(tmp_path / "out", below=path)


@pytest.mark.parametrize("quick", [True, False], ids=["new kernel", "old kernel"])
def test_no_link_on_the_way_is_followed(tmp_path: Path, quick: bool) -> None:
    victim = tmp_path / "victim"
    (victim / "sub").mkdir(parents=True)
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "link").symlink_to(victim)
    (out / "a" / "inside").symlink_to(".")
    target = FolderTarget(out, quick=quick)
    for path in (b"a/link", b"a/link/sub", b"a/inside", b"a/inside/inside"):
        with pytest.raises(TargetProblem):
            target.folder(path)
    for below in (b"a/link", b"a/link/sub"):
        with pytest.raises(OSError):
            FolderTarget(out, below=below, quick=quick)


def test_the_opener_walks_where_the_kernel_lacks_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    root = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr("restores.targets.beneath._OPENAT2", 100_000)
    opener = Opener(root)
    fd = opener.folder(b"a/b")
    assert os.fstat(fd).st_ino == (tmp_path / "a" / "b").stat().st_ino
    os.close(fd)
    os.close(root)


def test_a_fresh_folder_that_is_somebody_elses_by_now_is_refused(tmp_path: Path) -> None:
    as_root()
    (tmp_path / "mine").mkdir()
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 1234, 1234)
    target = FolderTarget(tmp_path)

    target.folder(b"mine", fresh=True).close()
    with pytest.raises(TargetProblem):
        target.folder(b"theirs", fresh=True)


# ---------------------------------------------------------------------- other items


def test_links_pipes_and_devices_are_made_with_their_metadata(top: OpenFolder, tmp_path: Path) -> None:
    as_root()
    rdev = os.makedev(1, 3)
    for item in (
        entry(b"link", "symlink", 0o777, target=b"/etc/passwd", uid=12, gid=34),
        entry(b"pipe", "fifo", 0o640, uid=12, gid=34),
        entry(b"null", "chardev", 0o4666, rdev=rdev, uid=12, gid=34),
    ):
        for _ in range(2):
            assert top.make(item)
        info = os.lstat(tmp_path / "out" / os.fsdecode(item.name))
        assert (info.st_uid, info.st_gid, info.st_mtime_ns) == (12, 34, MOMENT)
    assert os.readlink(tmp_path / "out" / "link") == "/etc/passwd"
    assert os.stat(tmp_path / "out" / "pipe").st_mode == stat.S_IFIFO | 0o640
    assert os.stat(tmp_path / "out" / "null").st_rdev == rdev
    assert os.stat(tmp_path / "out" / "null").st_mode & 0o7777 == 0o4666
    assert os.stat("/etc/passwd").st_uid == 0


def test_nothing_is_left_of_where_links_are_made(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o777)
    (tmp_path / "out").chmod(0o777)
    folder = FolderTarget(tmp_path / "out").folder(b"")
    folder.make(entry(b"one", "symlink", target=b"x"))
    folder.make(entry(b"two", "fifo"))
    folder.close()

    assert everything_below(tmp_path / "out") == ["one", "two"]


def test_a_folder_in_the_way_of_a_link_or_a_file_stays(top: OpenFolder, tmp_path: Path) -> None:
    (tmp_path / "out" / "name" / "below").mkdir(parents=True)
    with pytest.raises(TargetProblem):
        top.make(entry(b"name", "symlink", target=b"x"))
    with pytest.raises(TargetProblem):
        top.put(entry(b"name"), b"data")
    assert everything_below(tmp_path / "out") == ["name", "name/below"]


def test_another_name_is_made_by_the_file_itself(top: OpenFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "first").write_bytes(b"content")
    (out / "there").write_bytes(b"other")
    (out / "points").symlink_to("there")

    top.link(b"new", b"first")
    top.link(b"there", b"first")
    top.link(b"first", b"first")

    assert {(out / name).stat().st_ino for name in ("first", "new", "there")} == {(out / "first").stat().st_ino}
    assert (out / "first").stat().st_nlink == 3
    with pytest.raises(TargetProblem):
        top.link(b"more", b"points")


# ---------------------------------------------------------------------- metadata in place


def test_a_link_to_a_strangers_file_of_equal_content_is_never_given_away(tmp_path: Path) -> None:
    as_root()
    victim = tmp_path / "victim"
    victim.write_bytes(b"known content")
    victim.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 1234, 1234)
    (home / "program").hardlink_to(victim)
    folder = FolderTarget(home).folder(b"")
    wanted = entry(b"program", mode=0o6755, uid=1234, gid=1234)

    assert not folder.update(wanted)
    victim.unlink()
    assert not folder.update(wanted)

    assert ((home / "program").stat().st_uid, (home / "program").stat().st_mode & 0o7777) == (0, 0o755)


def test_what_the_folders_owner_could_do_himself_is_done_in_place(tmp_path: Path) -> None:
    as_root()
    (tmp_path / "file").write_bytes(b"x")
    os.chown(tmp_path / "file", 1234, 1234)
    os.chown(tmp_path, 1234, 1234)
    inode = (tmp_path / "file").stat().st_ino
    folder = FolderTarget(tmp_path).folder(b"")

    assert folder.update(entry(b"file", mode=0o600, uid=1234, gid=1234))

    info = (tmp_path / "file").stat()
    assert (info.st_ino, info.st_mode & 0o777, info.st_mtime_ns) == (inode, 0o600, MOMENT)


@pytest.mark.parametrize("kind", ["fifo", "symlink", "dir"])
def test_something_else_is_not_read_as_an_old_file(top: OpenFolder, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "out" / "name"
    {"fifo": os.mkfifo, "symlink": lambda path: os.symlink("/etc/passwd", path), "dir": os.mkdir}[kind](place)
    before = open_descriptors()

    with pytest.raises((TargetProblem, OSError)):
        top.old_file(b"name")

    assert open_descriptors() == before


def test_attributes_that_the_snapshot_does_not_have_are_removed(top: OpenFolder, tmp_path: Path) -> None:
    path = tmp_path / "out" / "file"
    path.write_bytes(b"x")
    can_set(path, "user.a", b"1")
    for name in ("user.kept", "user.changed", "user.gone"):
        os.setxattr(path, name, b"old")

    top.update(entry(b"file", xattrs=[(b"user.kept", b"old"), (b"user.changed", b"new"), (b"user.null", None)]))

    assert {name: os.getxattr(path, name) for name in os.listxattr(path)} == {
        "user.kept": b"old",
        "user.changed": b"new",
    }


def test_an_access_list_of_the_folder_is_not_inherited(tmp_path: Path) -> None:
    default = acl((1, 7, _NO_ID), (2, 7, 1234), (4, 5, _NO_ID), (16, 7, _NO_ID), (32, 5, _NO_ID))
    can_set(tmp_path, "system.posix_acl_default", default)
    os.setxattr(tmp_path, "system.posix_acl_default", default)
    folder = FolderTarget(tmp_path).folder(b"")

    folder.put(entry(b"file"), b"x")

    assert os.listxattr(tmp_path / "file") == []
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_file_whose_attributes_cannot_be_set_is_there_and_told(top: OpenFolder, tmp_path: Path) -> None:
    with pytest.raises(TargetProblem, match="without all its attributes"):
        top.put(entry(b"file", xattrs=[(b"nonsense", b"x")]), b"content")

    assert (tmp_path / "out" / "file").read_bytes() == b"content"
    assert (tmp_path / "out" / "file").stat().st_mtime_ns == MOMENT


def test_ids_no_file_can_have_are_left_out(top: OpenFolder, tmp_path: Path) -> None:
    top.put(entry(b"file", uid=2**32 - 1, gid=2**32 - 1), b"content")

    assert (tmp_path / "out" / "file").stat().st_uid == os.geteuid()


# ---------------------------------------------------------------------- policies


def test_an_account_gets_its_own_ids_and_nothing_that_gives_power(tmp_path: Path) -> None:
    as_root()
    policy = account_policy(1234, 5678, groups=[99])
    folder = FolderTarget(tmp_path, policy=policy).folder(b"")
    folder.put(entry(b"foreign", mode=0o6755, uid=0, gid=0), b"x")
    folder.put(entry(b"own", mode=0o755, uid=1234, gid=99), b"x")

    assert not folder.make(entry(b"null", "chardev", rdev=os.makedev(1, 3)))
    assert folder.make(entry(b"link", "symlink", target=b"x", uid=0, gid=0))

    foreign, own = (tmp_path / "foreign").stat(), (tmp_path / "own").stat()
    assert (foreign.st_uid, foreign.st_gid, foreign.st_mode & 0o7777) == (1234, 5678, 0o755)
    assert (own.st_uid, own.st_gid) == (1234, 99)
    assert (tmp_path / "link").lstat().st_uid == 1234
    assert not (tmp_path / "null").exists()


def test_an_account_gets_user_attributes_and_access_lists_without_foreign_ids() -> None:
    policy = account_policy(1234, 5678)
    granted = acl((1, 6, _NO_ID), (2, 4, 1234), (2, 7, 0), (4, 4, _NO_ID), (8, 7, 0), (16, 7, _NO_ID), (32, 4, _NO_ID))
    item = entry(
        b"file",
        xattrs=[
            (b"user.fine", b"1"),
            (b"security.capability", b"cap_setuid"),
            (b"trusted.secret", b"2"),
            (b"system.posix_acl_access", granted),
            (b"system.posix_acl_default", b"nonsense"),
        ],
    )

    kept = acl((1, 6, _NO_ID), (2, 4, 1234), (4, 4, _NO_ID), (16, 7, _NO_ID), (32, 4, _NO_ID))
    assert policy.attributes_of(item) == [(b"user.fine", b"1"), (b"system.posix_acl_access", kept)]
    assert len(LIKE_RESTIC.attributes_of(item)) == 5


def test_an_account_loses_no_attribute_it_may_not_set(tmp_path: Path) -> None:
    as_root()
    path = tmp_path / "file"
    path.write_bytes(b"x")
    can_set(path, "trusted.kept", b"1")
    os.setxattr(path, "trusted.kept", b"1")
    os.setxattr(path, "user.gone", b"1")
    os.chown(path, 1234, 1234)
    os.chown(tmp_path, 1234, 1234)
    folder = FolderTarget(tmp_path, policy=account_policy(1234, 1234)).folder(b"")

    assert folder.update(entry(b"file", uid=1234, gid=1234))

    assert os.listxattr(path) == ["trusted.kept"]


def test_an_ordinary_user_restores_what_others_owned_without_complaint(public_folder: Path) -> None:
    as_root()

    def work() -> list[int]:
        target = FolderTarget(public_folder / "out")
        folder = target.folder(b"")
        folder.put(entry(b"file", mode=0o640, uid=0, gid=0), b"x")
        folder.make(entry(b"link", "symlink", target=b"x", uid=0, gid=0))
        folder.make_folder(b"folder")
        inner = target.folder(b"folder", fresh=True)
        inner.finish(entry(b"folder", "dir", 0o555, uid=0, gid=0))
        return [os.lstat(public_folder / "out" / name).st_uid for name in ("file", "link", "folder")]

    assert in_child(work, uid=65534) == [65534, 65534, 65534]
    assert (public_folder / "out" / "folder").stat().st_mode & 0o777 == 0o555


# ---------------------------------------------------------------------- removal and paths


def test_a_tree_of_any_depth_is_removed_and_counted(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    here = os.dup(folder)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)

    assert remove(folder, b"d") == 2400
    assert remove(folder, b"d") == 0
    os.close(folder)
    assert everything_below(tmp_path) == []


def test_removing_takes_links_and_not_what_they_lead_to(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").write_bytes(b"x")
    (tmp_path / "top" / "sub").mkdir(parents=True)
    (tmp_path / "top" / "link").symlink_to(tmp_path / "victim")
    (tmp_path / "top" / "sub" / "link").symlink_to(tmp_path / "victim")
    folder = os.open(tmp_path, os.O_RDONLY)

    assert remove(folder, b"top") == 4

    os.close(folder)
    assert everything_below(tmp_path) == ["victim", "victim/file"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"home/file.txt", "home/file.txt"),
        ("d\u00e9j\u00e0/vu".encode(), "d\u00e9j\u00e0/vu"),
        (b"latin\xe9", "latin_xe9"),
        (b"back\\slash", "back_slash"),
        (b"C:evil", "C_evil"),
        (b"line\nbreak", "line_break"),
        ("right\u202eleft".encode(), "right_left"),
        (b"ends with dot.", "ends with dot"),
        (b"...", "_"),
        ("\u4e2d".encode() * 85, "\u4e2d" * 80),
    ],
)
def test_names_in_an_archive_for_all_systems_are_harmless(path: bytes, expected: str) -> None:
    assert portable_path(path) == expected


@pytest.mark.parametrize("path", [b"..", b"a/../b", b"/a", b"a//b", b"a/", b"./a", b"a\0b"])
def test_a_path_that_is_none_is_refused(path: bytes) -> None:
    with pytest.raises(TargetProblem):
        components(path)
    with pytest.raises(TargetProblem):
        portable_path(path)


def test_a_proper_name_is_given_back() -> None:
    assert checked_name(b"..x") == b"..x"
    assert components(b"") == []
    assert components(b"a/b") == [b"a", b"b"]


# ---------------------------------------------------------------------- the last wall


def test_a_confined_process_restores_into_its_folder_and_writes_nowhere_else(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "there").write_bytes(b"precious")

    def work() -> tuple[bool, list[str], bytes]:
        if not confine_writes([inside]):
            return False, [], b""
        target = FolderTarget(inside)
        folder = target.folder(b"")
        for _ in range(2):
            folder.put(entry(b"file"), b"content")
            folder.make(entry(b"link", "symlink", target=b"x"))
        folder.make_folder(b"sub")
        file = target.folder(b"sub").create(entry(b"shared"), shared=True)
        file.finish(entry(b"shared"))
        target.folder(b"sub").link(b"other-name", b"file")
        folder.remove(b"sub")
        folder.close()
        refused = []
        attempts: dict[str, Callable[[], object]] = {
            "write": lambda: (outside / "there").write_bytes(b"x"),
            "make": lambda: (outside / "new").write_bytes(b"x"),
            "folder": (outside / "sub").mkdir,
            "remove": (outside / "there").unlink,
            "rename": lambda: (inside / "file").rename(outside / "file"),
            "link": lambda: (outside / "linked").hardlink_to(inside / "file"),
        }
        for name, attempt in attempts.items():
            try:
                attempt()
            except OSError:
                refused.append(name)
        return True, refused, (outside / "there").read_bytes()

    possible, refused, content = in_child(work)

    if not possible:
        missing("this kernel has no Landlock")
    assert refused == ["write", "make", "folder", "remove", "rename", "link"]
    assert content == b"precious"
    assert everything_below(outside) == ["there"]
    assert everything_below(inside) == ["file", "link"]

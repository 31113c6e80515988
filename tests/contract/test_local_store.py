"""What only a local folder promises: modes, durability, and the errors of a file system."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from destinations.storage import AccessDenied, BadConfig, ObjectMissing, ReadOnlyStore, ShortRead, StoreFull
from destinations.storage.local import LocalStore
from destinations.storage.names import is_temporary
from tests.needs import missing


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_folders_are_private_and_finished_files_read_only(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "repo")
    store.put("config", b"c")
    store.put("data/ab/pack", b"p")
    assert mode(tmp_path / "repo") == 0o700
    assert mode(tmp_path / "repo/data") == 0o700
    assert mode(tmp_path / "repo/data/ab") == 0o700
    assert mode(tmp_path / "repo/config") == 0o400
    assert mode(tmp_path / "repo/data/ab/pack") == 0o400


@pytest.mark.parametrize("below", ["", "server-1/alice/"])
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_repository_whose_config_the_group_reads_stays_the_groups(tmp_path: Path, below: str, umask: int) -> None:
    config = tmp_path / "repo" / below / "config"
    config.parent.mkdir(parents=True)
    config.write_bytes(b"c")
    config.chmod(0o440)
    config.parent.chmod(0o2770)
    old = os.umask(umask)
    try:
        store = LocalStore(tmp_path / "repo")
        store.put(f"{below}data/ab/pack", b"p")
        store.prepare([f"{below}index"])
    finally:
        os.umask(old)
    assert mode(config.parent / "data") & 0o777 == 0o770
    assert mode(config.parent / "data/ab") & 0o2777 == 0o2770, "the set-group bit is inherited"
    assert mode(config.parent / "data/ab/pack") == 0o440
    assert mode(config.parent / "index") & 0o777 == 0o770
    assert mode(config.parent) == 0o2770, "folders that were there stay as they were"


def test_a_finished_file_that_is_read_only_can_be_replaced_and_deleted(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("config", b"one")
    store.put("config", b"two")
    assert store.get("config") == b"two"
    store.delete("config")
    assert list(tmp_path.iterdir()) == []


def test_what_stock_programs_left_unfinished_is_neither_listed_nor_an_object(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("data/ab/whole", b"w")
    (tmp_path / "data/ab/whole-tmp-123456").write_bytes(b"half")
    (tmp_path / f"data/ab/other-restic-temp-{'0' * 32}").write_bytes(b"half")
    (tmp_path / "data/README.txt").write_bytes(b"foreign")
    (tmp_path / "data/ab/link").symlink_to(tmp_path / "data/ab/whole")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "data/ab/pipe")
    assert [info.key for info in store.list("")] == ["data/ab/whole"]
    with pytest.raises(ObjectMissing):
        store.get("data/ab/pipe")
    with pytest.raises(ObjectMissing):
        store.stat("data/ab/pipe")


@pytest.mark.parametrize("change", [lambda store: store.put("locks/x", b"l"), lambda store: store.delete("locks/y")])
def test_what_a_killed_writer_left_goes_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[LocalStore], None]
) -> None:
    def left() -> set[str]:
        return {path.name for path in (tmp_path / "data/ab").iterdir()} - {"pack"}

    store = LocalStore(tmp_path)
    store.put("data/ab/pack", b"w")
    foreign = {"pack-tmp-12x", "PACK-tmp-12", f"pack-restic-temp-{'0' * 32}", "tmp-12", "folder-tmp-12", "link-tmp-12"}
    for name in {"pack-tmp-123456", "config-tmp-1"} | foreign - {"folder-tmp-12", "link-tmp-12"}:
        (tmp_path / "data/ab" / name).write_bytes(b"half")
    (tmp_path / "data/ab/folder-tmp-12").mkdir()
    (tmp_path / "data/ab/link-tmp-12").symlink_to(tmp_path / "data/ab/pack")
    everything = left()
    list(store.list(""))
    change(store)
    assert left() == everything, "another writer may be at it"
    now = time.time()
    monkeypatch.setattr("destinations.storage.local.time.time", lambda: now + 86_401)
    list(store.list("data"))
    assert left() == everything, "a listing changes nothing"
    change(store)
    assert left() == foreign
    assert store.get("data/ab/pack") == b"w"


def test_a_writer_whose_unfinished_file_is_swept_away_writes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sweeper, real, now = LocalStore(tmp_path), LocalStore(tmp_path), os.rename, time.time()

    def slow(source: str, target: str) -> None:
        monkeypatch.setattr(os, "rename", real)
        monkeypatch.setattr("destinations.storage.local.time.time", lambda: now + 86_401)
        list(sweeper.list(""))
        sweeper.delete("locks/x")
        real(source, target)

    monkeypatch.setattr(os, "rename", slow)
    store.put("data/ab/pack", b"whole")
    assert store.get("data/ab/pack") == b"whole"
    assert [path.name for path in (tmp_path / "data/ab").iterdir()] == ["pack"]


def test_a_folder_removed_under_an_open_store_is_made_again(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "repo")
    store.put("data/ab/one", b"1")
    subprocess.run(["rm", "-rf", tmp_path / "repo"], check=True)
    store.put("data/ab/two", b"2")
    assert [info.key for info in store.list("")] == ["data/ab/two"]


def test_a_truncated_file_is_a_short_read(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("data/ab/pack", b"0123456789")
    os.truncate(tmp_path / "data/ab/pack", 4)
    assert store.get("data/ab/pack", length=4) == b"0123"
    with pytest.raises(ShortRead):
        store.get("data/ab/pack", offset=2, length=3)


def test_a_file_in_the_way_of_a_folder_is_a_configuration_error(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("data", b"a file")
    with pytest.raises(BadConfig):
        store.put("data/ab/pack", b"1")
    store.put("index/x", b"1")
    with pytest.raises(BadConfig):
        store.put("index", b"a folder is there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "index"], "no temporary file stays"


def test_the_capacity_is_that_of_the_disk_even_before_the_folder_exists(tmp_path: Path) -> None:
    total, free = LocalStore(tmp_path / "not" / "yet").capacity()
    found = os.statvfs(tmp_path)
    assert total == found.f_blocks * found.f_frsize
    assert abs(free - found.f_bavail * found.f_frsize) < total // 10


def test_the_object_is_on_disk_before_its_name_and_the_name_before_put_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def note(name: str) -> None:
        real = getattr(os, name)

        def noting(*arguments: object) -> object:
            calls.append(f"{name} of a folder" if name == "fsync" and is_folder(arguments[0]) else name)
            return real(*arguments)

        monkeypatch.setattr(os, name, noting)

    def is_folder(file: object) -> bool:
        assert isinstance(file, int)
        return stat.S_ISDIR(os.fstat(file).st_mode)

    store = LocalStore(tmp_path)
    store.put("data/config", b"1")
    for name in ("writev", "fsync", "rename"):
        note(name)
    store.put("data/config", b"2")
    assert calls == ["writev", "fsync", "rename", "fsync of a folder"]


# a file system that is full, read-only, closed

FULL = """
import os, subprocess, sys
from destinations.storage.local import LocalStore
from destinations.storage import StoreError
place, scenario = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
store = LocalStore(place)
store.put("data/ab/first", b"1" * 1000)
if scenario == "readonly":
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
try:
    store.put("data/ab/second", [b"2" * 100_000] * 20)
except StoreError as error:
    print(type(error).__name__, error.code, *sorted(os.listdir(place + "/data/ab")))
if scenario == "full":
    store.delete("data/ab/first")
    store.put("data/ab/third", b"3" * 100_000)
    print(len(store.get("data/ab/third")))
"""


@pytest.mark.parametrize(
    ("scenario", "said"),
    [("full", [StoreFull, "100000"]), ("readonly", [ReadOnlyStore])],
)
def test_a_full_or_read_only_disk_is_named_and_leaves_nothing_behind(
    tmp_path: Path, scenario: str, said: list[object]
) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    run = subprocess.run(
        ["unshare", "--map-root-user", "--mount", sys.executable, "-c", FULL, str(place), scenario],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare failed" in run.stderr or "mount" in run.stderr:
        missing(f"no private mounts here: {run.stderr.strip()[-200:]}")
    assert run.returncode == 0, run.stderr
    kind = said[0]
    assert isinstance(kind, type)
    expected = [f"{kind.__name__} {kind.code} first", *said[1:]]  # type: ignore[attr-defined]
    assert run.stdout.split("\n")[:-1] == expected


def test_a_folder_without_rights_denies_access(tmp_path: Path) -> None:
    script = """
import os, sys
from destinations.storage.local import LocalStore
from destinations.storage import StoreError
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for call in (lambda s: s.put("config", b"1"), lambda s: s.get("config"), lambda s: list(s.list(""))):
    try:
        call(LocalStore(sys.argv[1]))
    except StoreError as error:
        print(type(error).__name__)
"""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    run = subprocess.run([sys.executable, "-c", script, str(closed)], capture_output=True, text=True, check=False)
    closed.chmod(0o700)
    assert run.stdout.split() == [AccessDenied.__name__] * 3, run.stderr


def test_temporary_names_are_told_from_keys() -> None:
    assert is_temporary("config-tmp-1")
    assert is_temporary("x-restic-temp-0123456789abcdef0123456789abcdef")
    assert not is_temporary("-tmp-1")
    assert not is_temporary("config-tmp-")
    assert not is_temporary("config-tmp-1a")
    assert not is_temporary("x-restic-temp-012345")

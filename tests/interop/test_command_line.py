"""The command line as a person meets it: odd names, odd places, options in any order, and no traceback anywhere."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from backups.engine.edit import save_snapshot
from destinations.storage.errors import ReadOnlyStore, StoreError, StoreFull
from destinations.storage.local import LocalStore
from tests.interop.ours import Ours, new_repository


@pytest.fixture
def ours(tmp_path: Path) -> Ours:
    made = new_repository(tmp_path)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "plain").write_bytes(b"content")
    return made


def refused(ours: Ours, *args: str | Path, code: int = 1) -> str:
    """Run what cannot be done; return why, which is never a traceback."""
    process = ours.fork(*args, cwd=ours.repo.parent)
    _, errors = process.communicate()
    text = errors.decode("utf-8", "surrogateescape")
    assert process.returncode == code, text
    assert "Traceback" not in text
    assert "(HF-" in text
    return text


def on_terminal(ours: Ours, *args: str) -> str:
    """What a verb writes to a terminal."""
    ours_end, its_end = pty.openpty()
    process = subprocess.Popen(
        ours.command(*args), stdout=its_end, stderr=subprocess.DEVNULL, env=ours.environment(), cwd=ours.repo.parent
    )
    os.close(its_end)
    said = b""
    try:
        while part := os.read(ours_end, 65536):
            said += part
    except OSError:  # the other end is closed
        pass
    os.close(ours_end)
    assert process.wait() == 0
    return said.decode().replace("\r\n", "\n")


def test_names_go_to_a_program_as_they_are_and_to_a_terminal_spelled_out(ours: Ours) -> None:
    names = [b"new\nline", b"esc\x1b[31mred", b"\xff\xfe", "é\u202e".encode()]
    for name in names:
        (Path(os.fsdecode(bytes(ours.repo.parent / "source") + b"/" + name))).touch()
    ours.quick("backup", "source", cwd=ours.repo.parent)
    said = ours.run("ls", "latest", "--quiet").stdout.encode("utf-8", "surrogateescape")
    assert all(b"/source/" + name + b"\n" in said for name in names)
    shown = on_terminal(ours, "ls", "latest")
    for text in (r"new\nline", r"esc\x1b[31mred", r"\xff\xfe", r"é\u202e"):
        assert f"/source/{text}\n" in shown
    assert "\x1b" not in shown
    assert r"/source/esc\x1b[31mred" in on_terminal(ours, "find", "esc*")


def test_common_options_are_taken_after_the_verb_too(ours: Ours) -> None:
    before = ours.command()[: -len(["-r", "", "-p", "", "--cache-dir", ""])]
    after = [*before, "snapshots", "--json", "--quiet", "-r", str(ours.repo), "-p", str(ours.password_file)]
    done = subprocess.run(after, env=ours.environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert ours.quick("repair", "index", "--quiet") == ""
    assert ours.quick("--json", "snapshots") == "[]\n"


def test_places_that_cannot_be_written_are_named(ours: Ours) -> None:
    ours.quick("backup", "source", cwd=ours.repo.parent)
    (ours.repo.parent / "file").write_bytes(b"mine")
    assert "nowhere/out" in refused(ours, "dump", "latest", "/source/plain", "--target", "nowhere/out")
    assert "file" in refused(ours, "restore", "latest", "--target", "file")
    assert "file" in refused(ours, "restore", "latest", "--target", "file/below")
    assert "file" in refused(ours, "--cache-dir", "cache", "check", "--read-data", "--position-file", "file/below")
    assert (ours.repo.parent / "file").read_bytes() == b"mine"


def test_snapshots_that_are_not_there_are_named(ours: Ours) -> None:
    ours.quick("backup", "source", cwd=ours.repo.parent)
    repository = ours.open()
    (snapshot,) = repository.snapshots()
    for _ in range(16):  # so that two ids begin with the same digit
        save_snapshot(repository, snapshot)
    first = [name[0] for name in repository.ids("snapshots")]
    twice = next(digit for digit in first if first.count(digit) > 1)
    assert "snapshot ids begin with" in refused(ours, "ls", twice)
    for wanted in ("zzz", "f" * 64, "latest:nowhere", ""):
        refused(ours, "ls", wanted)
        refused(ours, "restore", wanted, "--target", "out")
    assert not (ours.repo.parent / "out").exists()


def test_packs_to_repair_are_named_by_the_beginning_of_an_id_that_is_there(ours: Ours) -> None:
    ours.quick("backup", "source", cwd=ours.repo.parent)
    repository = ours.open()
    assert "no pack ids begin with 'nosuch'" in refused(ours, "repair", "packs", "nosuch")
    (pack, other) = sorted(repository.ids("data"))
    said = ours.quick("repair", "packs", pack[:8], cwd=ours.repo.parent)
    assert "saved 1 blobs" in said or "saved 2 blobs" in said
    assert pack not in repository.ids("data")
    repository.remove_object("data", other)
    process = ours.fork("repair", "packs", other[:8], cwd=ours.repo.parent)
    assert other in process.communicate()[1].decode()
    assert process.returncode == 0


@pytest.mark.parametrize("error", [ReadOnlyStore, StoreFull])
def test_where_no_lock_can_be_written_the_way_without_is_named(
    ours: Ours, monkeypatch: pytest.MonkeyPatch, error: type[StoreError]
) -> None:
    def put(_: LocalStore, key: str, data: object) -> None:
        raise error("no room for a lock", key=key)

    monkeypatch.setattr(LocalStore, "put", put)
    assert "--no-lock" in refused(ours, "snapshots")
    assert "no snapshots" in ours.quick("--no-lock", "snapshots")


def test_what_is_wrong_with_the_repository_to_copy_from_says_that_it_is_that_one(ours: Ours) -> None:
    source = ["--from-repo", "nowhere", "--from-password-file", ours.password_file]
    assert "to copy from" in refused(ours, "copy", *source, code=10)
    assert "to copy from" in refused(ours, "init", "--copy-chunker-params", *source, code=10)

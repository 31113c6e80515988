"""Files as streams, folders as archives, and plans of restores."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from backups.engine.blob import BlobType
from backups.engine.dumper import DumpResult, dump_file, dump_folder
from backups.engine.errors import BadRequest, Canceled, Corrupt
from backups.engine.layout import DATA, object_key
from backups.engine.names import name_json
from backups.engine.ports import CancelToken
from backups.engine.repository import Repository
from backups.engine.restore_plan import Plan
from backups.engine.restore_rules import RestoreOptions
from backups.engine.tree import encode_file_node, encode_special_node, encode_tree, go_mode, owner_json
from backups.sources import FolderSource
from destinations.storage.memory import MemoryStore
from restores.targets.archive import open_archive
from restores.targets.folder import FolderTarget
from tests.engine.repositories import Writer, new_repository, noise
from tests.engine.restoring import files_below, lost, newest_tree, restore_to
from tests.engine.running import run_backup
from tests.needs import program

OWNER = owner_json(0, 0, "root", "root")
TIME = "2024-01-02T03:04:05Z"


@pytest.fixture
def repository() -> Repository:
    return new_repository(MemoryStore())


def damage(repository: Repository, plain: bytes) -> None:
    place = repository.index.find(BlobType.DATA, sha256(plain).digest())
    assert place is not None
    key = object_key(DATA, repository.index.packs[place.pack].hex())
    pack = bytearray(repository.store.get(key))
    pack[place.offset + place.length // 2] ^= 1
    repository.store.put(key, bytes(pack))


def dumped(repository: Repository, form: Any, folder: bytes = b"", **options: Any) -> tuple[DumpResult, io.BytesIO]:
    out = io.BytesIO()
    result = dump_folder(repository, newest_tree(repository), folder, open_archive(form, out), **options)
    out.seek(0)
    return result, out


def stored(repository: Repository, *nodes: bytes) -> str:
    tree = Writer(repository)
    name = tree.blob(BlobType.TREE, encode_tree(nodes)).hex()
    tree.flush()
    return name


# ---------------------------------------------------------------------- files


def test_a_file_comes_out_whole_and_in_order(repository: Repository) -> None:
    chunks = [noise(number, 700_000) for number in range(30)]
    Writer(repository).snapshot({"folder": {"file": [*chunks, chunks[0]], "empty": b""}})
    out = io.BytesIO()

    result = dump_file(repository, newest_tree(repository), b"/folder/file", out)

    assert out.getvalue() == b"".join(chunks) + chunks[0]
    assert (result.items, result.written) == (1, 31 * 700_000)
    out = io.BytesIO()
    dump_file(repository, newest_tree(repository), b"folder/empty", out)
    assert out.getvalue() == b""


def test_what_is_no_file_cannot_be_dumped_as_one(repository: Repository) -> None:
    Writer(repository).snapshot({"folder": {"file": b"x"}})
    for path in (b"", b"/", b"folder", b"folder/absent", b"folder/file/below"):
        with pytest.raises(BadRequest):
            dump_file(repository, newest_tree(repository), path, io.BytesIO())


def test_a_damaged_file_is_never_passed_off_as_whole(repository: Repository) -> None:
    chunks = [noise(number, 1_000_000) for number in range(30)]
    Writer(repository).snapshot({"file": chunks})
    damage(repository, chunks[20])
    out = io.BytesIO()

    with pytest.raises(Corrupt):
        dump_file(repository, newest_tree(repository), b"file", out)

    assert out.getvalue() == b"".join(chunks[:20])[: len(out.getvalue())]


def test_a_file_with_a_blob_no_index_knows_is_refused_before_its_first_byte(repository: Repository) -> None:
    writer = Writer(repository)
    ids = [writer.blob(BlobType.DATA, b"known").hex(), "ab" * 32]
    tree = stored(repository, encode_file_node(name_json(b"file"), 420, TIME, TIME, OWNER, 1, 1, 9, 1, ids))
    writer.flush()
    out = io.BytesIO()

    with pytest.raises(Corrupt):
        dump_file(repository, tree, b"file", out)

    assert out.getvalue() == b""


def test_a_canceled_dump_ends(repository: Repository) -> None:
    Writer(repository).snapshot({"file": [noise(1), noise(2)]})
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Canceled):
        dump_file(repository, newest_tree(repository), b"file", io.BytesIO(), cancel=cancel)


# ---------------------------------------------------------------------- archives


@pytest.mark.parametrize("form", ["tar", "tar.gz"])
def test_gnu_tar_brings_the_awkward_tree_back(
    awkward_tree: bytes, repository: Repository, tmp_path: Path, form: str
) -> None:
    run_backup(repository, FolderSource([awkward_tree]))
    result, out = dumped(repository, form)
    assert not result.problems
    options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-p", "-z"][: 5 if form == "tar.gz" else 4]

    subprocess.run(
        [program("tar"), "-x", *options, "-C", str(tmp_path)], input=out.getvalue(), check=True, capture_output=True
    )

    left = lost(awkward_tree, os.fsencode(tmp_path) + b"/tree")
    # tar has no word for the times of links of other programs, and keeps access lists only if it was built so.
    assert not [line for line in left if "xattrs" not in line], left


def test_a_member_is_named_by_its_full_path_and_chosen_by_the_one_below(repository: Repository) -> None:
    Writer(repository).snapshot({"home": {"alice": {"file": b"x", "other": b"y"}, "bob": {"file": b"z"}}})

    _, out = dumped(repository, "tar", b"/home/alice", select=lambda path, _: (path == b"file", True))

    with tarfile.open(fileobj=out) as archive:
        assert archive.getnames() == ["home/alice/file"]


def test_times_and_sizes_beyond_the_old_limits_are_kept(repository: Repository) -> None:
    when = "1969-12-31T23:59:58.123456789Z"
    tree = stored(
        repository,
        encode_special_node(name_json(b"old"), "symlink", go_mode(0o120777), when, when, OWNER, 1, 1, 1, b"t" * 300),
    )
    out = io.BytesIO()
    dump_folder(repository, tree, b"", open_archive("tar", out))
    out.seek(0)

    with tarfile.open(fileobj=out) as archive:
        member = archive.getmembers()[0]
        assert member.pax_headers["mtime"] == "-1.876543211"
        assert member.linkname == "t" * 300


def test_zip_holds_files_folders_and_links_under_names_every_system_takes(repository: Repository) -> None:
    writer = Writer(repository)
    ids = [writer.blob(BlobType.DATA, b"content").hex()]
    names = [b"a:b", b"a_b", b"plain.txt", b"latin\xe9"]
    nodes = [
        encode_file_node(name_json(n), go_mode(0o100640), TIME, TIME, OWNER, 7, 7, 7, len(names), ids) for n in names
    ]
    nodes.append(encode_special_node(name_json(b"pipe"), "fifo", go_mode(0o10640), TIME, TIME, OWNER, 1, 1))
    nodes.append(
        encode_special_node(
            name_json(b"points"), "symlink", go_mode(0o120777), TIME, TIME, OWNER, 1, 1, 1, b"plain.txt"
        )
    )
    tree = stored(repository, *nodes)
    writer.flush()
    out = io.BytesIO()

    result = dump_folder(repository, tree, b"", open_archive("zip", out))

    assert [problem.path for problem in result.problems] == [b"pipe"]
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a_b", "a_b~2", "plain.txt", "latin_xe9", "points"]
        assert all(archive.read(name) == b"content" for name in archive.namelist()[:4])
        assert archive.read("points") == b"plain.txt"
        assert archive.getinfo("points").external_attr >> 16 == stat.S_IFLNK | 0o777
        assert archive.getinfo("plain.txt").external_attr >> 16 == stat.S_IFREG | 0o640
        assert archive.getinfo("plain.txt").date_time[:2] == (2024, 1)


def test_unzip_takes_what_was_streamed(repository: Repository, tmp_path: Path) -> None:
    files = {"small": b"x" * 100, "chunks": [noise(1), noise(2)], "empty": b""}
    Writer(repository).snapshot({"folder": files})
    result, out = dumped(repository, "zip")
    (tmp_path / "a.zip").write_bytes(out.getvalue())

    subprocess.run([program("unzip"), "-q", "a.zip"], cwd=tmp_path, check=True, capture_output=True)

    assert result.items == 4
    got = files_below(tmp_path / "folder")
    assert got == {"small": b"x" * 100, "chunks": noise(1) + noise(2), "empty": b""}


def test_a_damaged_small_file_is_left_out_with_its_other_names_and_told(repository: Repository) -> None:
    writer = Writer(repository)
    bad, good = [writer.blob(BlobType.DATA, noise(1)).hex()], [writer.blob(BlobType.DATA, noise(2)).hex()]
    nodes = [
        encode_file_node(name_json(b"bad-1"), 420, TIME, TIME, OWNER, 7, 7, 2000, 2, bad),
        encode_file_node(name_json(b"bad-2"), 420, TIME, TIME, OWNER, 7, 7, 2000, 2, bad),
        encode_file_node(name_json(b"good"), 420, TIME, TIME, OWNER, 8, 7, 2000, 1, good),
        encode_file_node(name_json(b"lost"), 420, TIME, TIME, OWNER, 9, 7, 2000, 1, ["ab" * 32]),
    ]
    tree = stored(repository, *nodes)
    writer.flush()
    damage(repository, noise(1))
    out = io.BytesIO()

    result = dump_folder(repository, tree, b"", open_archive("tar", out))

    assert [problem.path for problem in result.problems] == [b"bad-1", b"bad-2", b"lost"]
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        assert archive.getnames() == ["good"]


def test_an_archive_with_a_large_damaged_file_is_not_passed_off_as_whole(repository: Repository) -> None:
    chunks = [noise(number, 1_000_000) for number in range(30)]
    Writer(repository).snapshot({"file": chunks})
    damage(repository, chunks[25])

    with pytest.raises(Corrupt, match="file"):
        dumped(repository, "tar")


def test_another_name_of_a_file_is_stored_once(repository: Repository) -> None:
    writer = Writer(repository)
    ids = [writer.blob(BlobType.DATA, noise(1)).hex()]
    nodes = [encode_file_node(name_json(n), 420, TIME, TIME, OWNER, 7, 7, 2000, 2, ids) for n in (b"one", b"two")]
    tree = stored(repository, *nodes)
    writer.flush()
    out = io.BytesIO()

    dump_folder(repository, tree, b"", open_archive("tar", out))

    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        one, two = archive.getmembers()
        assert two.islnk()
        assert (two.linkname, two.size) == ("one", 0)
        assert one.size == 2000


def test_hostile_names_are_in_no_archive(repository: Repository) -> None:
    names = [b"../up", b"..", b"/etc", b"fine"]
    tree = stored(repository, *(encode_file_node(name_json(n), 420, TIME, TIME, OWNER, 1, 1, 0, 1, []) for n in names))
    for form in ("tar", "zip"):
        out = io.BytesIO()
        result = dump_folder(repository, tree, b"", open_archive(form, out))  # type: ignore[arg-type]
        assert len(result.problems) == 3
        out.seek(0)
        if form == "tar":
            with tarfile.open(fileobj=out) as archive:
                assert archive.getnames() == ["fine"]
        else:
            with zipfile.ZipFile(out) as packed:
                assert packed.namelist() == ["fine"]


# ---------------------------------------------------------------------- plans


def planned(repository: Repository, place: Path | None, **options: Any) -> dict[str, tuple[str, int]]:
    target = FolderTarget(place) if place else None
    plan = Plan(repository, newest_tree(repository), target, options=RestoreOptions(**options))
    found = {os.fsdecode(item.path): (item.action, item.size) for item in plan}
    assert not plan.problems
    return found


def test_a_plan_says_what_a_restore_then_does(repository: Repository, tmp_path: Path) -> None:
    Writer(repository).snapshot({"a": {"same": b"1", "changed": b"22"}, "new": {"file": b"333"}, "other": b"4444"})
    out = tmp_path / "out"
    out.mkdir()
    assert {action for action, _ in planned(repository, out).values()} == {"create"}
    assert planned(repository, None) == planned(repository, out)
    restore_to(repository, out)
    (out / "a" / "changed").write_bytes(b"changed")
    (out / "a" / "extra").write_bytes(b"55555")
    for path in (out / "new" / "file", out / "other"):
        path.unlink()
    (out / "new").rmdir()
    (out / "other").symlink_to("x")
    before = files_below(out)

    expected = {
        "a/same": ("unchanged", 1),
        "a/changed": ("replace", 2),
        "new": ("create", 0),
        "new/file": ("create", 3),
        "other": ("replace", 4),
    }
    assert planned(repository, out) == expected
    assert planned(repository, out, delete=True) == expected | {"a/extra": ("delete", 5)}
    assert planned(repository, out, overwrite="never")["a/changed"] == ("keep", 2)
    assert files_below(out) == before


def test_a_plan_goes_on_after_a_damaged_folder(repository: Repository, tmp_path: Path) -> None:
    writer = Writer(repository)
    writer.snapshot({"bad": {"x": b"1"}, "good": {"y": b"2"}})
    place = repository.index.find(BlobType.TREE, bytes.fromhex(writer.tree({"x": b"1"})))
    assert place is not None
    key = object_key(DATA, repository.index.packs[place.pack].hex())
    pack = bytearray(repository.store.get(key))
    pack[place.offset + 20] ^= 1
    repository.store.put(key, bytes(pack))
    plan = Plan(repository, newest_tree(repository), None)

    assert {os.fsdecode(item.path) for item in plan} == {"bad", "good", "good/y"}
    assert [problem.path for problem in plan.problems] == [b"bad"]

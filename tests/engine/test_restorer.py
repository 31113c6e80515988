"""Restoring to a folder: what comes back, what stays, what is told."""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from backups.engine import restore_large, restore_worker
from backups.engine.blob import BlobType
from backups.engine.errors import BadRequest, Canceled
from backups.engine.layout import DATA, object_key
from backups.engine.names import name_json
from backups.engine.ports import CancelToken, Entry
from backups.engine.repository import Repository
from backups.engine.restore_batch import Batch, TargetFull
from backups.engine.restore_rules import RestoreOptions
from backups.engine.restorer import RestoreResult, restore
from backups.engine.tree import encode_dir_node, encode_file_node, encode_special_node, encode_tree, go_mode, owner_json
from backups.sources import FolderSource
from destinations.storage.base import Capabilities
from destinations.storage.errors import StoreUnreachable
from destinations.storage.local import LocalStore
from destinations.storage.memory import MemoryStore
from destinations.storage.wrappers.base import Wrapper
from restores.targets.folder import FolderTarget
from restores.targets.null import NullTarget
from tests.engine.repositories import Writer, new_repository, noise, reopened
from tests.engine.restoring import everything_below, files_below, lost, newest_tree, open_descriptors, restore_to
from tests.engine.running import run_backup
from tests.fakes.faulty_store import CorruptingStore, FailingStore

OWNER = owner_json(0, 0, "root", "root")
TIME = "2024-01-02T03:04:05Z"


@pytest.fixture
def repository() -> Repository:
    return new_repository(MemoryStore())


class FarStore(Wrapper):
    """A store that children cannot use by themselves."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(connections=3, forkable=False)


def snapshot_of(repository: Repository, folder: dict[str, Any]) -> Writer:
    writer = Writer(repository)
    writer.snapshot(folder)
    return writer


def damage(repository: Repository, plain: bytes) -> None:
    """Flip a byte of a stored data blob."""
    place = repository.index.find(BlobType.DATA, sha256(plain).digest())
    assert place is not None
    key = object_key(DATA, repository.index.packs[place.pack].hex())
    pack = bytearray(repository.store.get(key))
    pack[place.offset + place.length // 2] ^= 1
    repository.store.put(key, bytes(pack))


def large() -> list[bytes]:
    """The chunks of a file large enough to be shared out among helpers."""
    return [noise(1000 + number, 1 << 13) for number in range(140)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share out what is larger than 256 KiB, in parts of 64 KiB."""
    monkeypatch.setattr(restore_large, "_PART", 1 << 16)
    monkeypatch.setattr(restore_large, "_LARGE", 1 << 18)
    monkeypatch.setattr(restore_worker, "_LATER", 1 << 17)


# ---------------------------------------------------------------------- everything comes back


@pytest.mark.parametrize("workers", [0, 2], ids=["alone", "with helpers"])
def test_everything_of_an_awkward_tree_comes_back(
    awkward_tree: bytes, repository: Repository, tmp_path: Path, workers: int
) -> None:
    run_backup(repository, FolderSource([awkward_tree]))

    result = restore_to(repository, tmp_path, workers=workers)

    assert not result.problems
    assert not lost(awkward_tree, os.fsencode(tmp_path) + b"/tree")


def test_threads_restore_from_a_store_that_children_cannot_use(awkward_tree: bytes, tmp_path: Path) -> None:
    store = MemoryStore()
    run_backup(new_repository(store), FolderSource([awkward_tree]))

    result = restore_to(reopened(new_reader(store)), tmp_path, workers=None)

    assert not result.problems
    assert not lost(awkward_tree, os.fsencode(tmp_path) + b"/tree")


def new_reader(store: MemoryStore) -> Repository:
    return Repository.open(FarStore(store), "correct horse")


def test_a_folder_of_a_snapshot_is_restored_without_those_above_it(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"home": {"alice": {"file": b"hers", "sub": {"deep": b"too"}}, "bob": {"file": b"his"}}})

    restore_to(repository, tmp_path, folder=b"/home/alice")

    assert files_below(tmp_path) == {"file": b"hers", "sub/deep": b"too"}


def test_a_folder_that_is_not_in_the_snapshot_is_an_error(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"home": {"file": b"x"}})

    for folder in (b"nowhere", b"home/file", b"home/file/below"):
        with pytest.raises(BadRequest):
            restore_to(repository, tmp_path, folder=folder)


def test_a_file_of_many_chunks_is_written_by_several_helpers(tmp_path: Path) -> None:
    repository = new_repository(LocalStore(tmp_path / "repository"))
    chunks = large()
    snapshot_of(repository, {"large": chunks, "small": b"beside it"})

    result = restore_to(repository, tmp_path / "out", workers=2)

    assert result.files == 2
    assert result.written == sum(map(len, chunks)) + 9
    assert files_below(tmp_path / "out") == {"large": b"".join(chunks), "small": b"beside it"}


def test_holes_are_left_where_a_file_has_zeros(repository: Repository, tmp_path: Path) -> None:
    content = b"head" + bytes(2_000_000) + b"tail" + bytes(1_000_000)
    chunks = [content[at : at + 500_000] for at in range(0, len(content), 500_000)]
    snapshot_of(repository, {"sparse": chunks, "zeros": [bytes(700_000)], "dense": noise(1, 700_000)})

    restore_to(repository, tmp_path, sparse=True)

    assert (tmp_path / "sparse").read_bytes() == content
    assert (tmp_path / "zeros").read_bytes() == bytes(700_000)
    assert (tmp_path / "sparse").stat().st_blocks * 512 < 600_000
    assert (tmp_path / "zeros").stat().st_blocks == 0
    assert (tmp_path / "dense").stat().st_blocks * 512 >= 700_000


def test_only_what_is_chosen_is_restored_and_folders_above_it_only_if_needed(
    repository: Repository, tmp_path: Path
) -> None:
    snapshot_of(repository, {"a": {"b": {"wanted": b"1", "other": b"2"}, "empty": {}}, "c": {"d": {"other": b"3"}}})

    def select(path: bytes, is_folder: bool) -> tuple[bool, bool]:
        return path.endswith(b"/wanted"), True

    restore_to(repository, tmp_path, select=select)

    assert everything_below(tmp_path) == ["a", "a/b", "a/b/wanted"]


def test_a_folder_made_only_for_what_is_in_it_gets_its_metadata_too(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"a": {"b": {"wanted": b"1"}}})

    restore_to(repository, tmp_path, select=lambda path, _: (path == b"a/b/wanted", True))

    assert (tmp_path / "a").stat().st_mtime == 1704164645
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o755


def test_an_existing_folder_above_what_is_chosen_keeps_its_metadata(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"a": {"wanted": b"1"}})
    (tmp_path / "a").mkdir(mode=0o700)

    restore_to(repository, tmp_path, select=lambda path, _: (path == b"a/wanted", True))

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_many_files_in_one_folder_all_come_back(repository: Repository, tmp_path: Path) -> None:
    files = {f"{number:05d}": b"%d" % (number % 100) for number in range(5000)}
    snapshot_of(repository, files)

    result = restore_to(repository, tmp_path)

    assert result.files == 5000
    assert files_below(tmp_path) == files


# ---------------------------------------------------------------------- what is there already


def test_equal_files_are_not_touched(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"file": b"content", "several": [b"one", b"two"]})
    restore_to(repository, tmp_path)
    before = {name: (tmp_path / name).stat() for name in ("file", "several")}

    for overwrite in ("always", "if-different", "if-newer", "never"):
        result = restore_to(repository, tmp_path, overwrite=overwrite)
        assert result.files == 0
        for name, info in before.items():
            now = (tmp_path / name).stat()
            assert (now.st_ino, now.st_ctime_ns) == (info.st_ino, info.st_ctime_ns)


def test_a_file_of_equal_content_gets_its_metadata_back_in_place(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"file": b"content"})
    restore_to(repository, tmp_path)
    path = tmp_path / "file"
    inode = path.stat().st_ino
    path.chmod(0o600)
    os.utime(path, (5, 5))

    result = restore_to(repository, tmp_path)

    assert (result.files, result.unchanged) == (0, 1)
    assert path.stat().st_ino == inode
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.stat().st_mtime == 1704164645


def test_a_changed_file_of_the_same_size_is_replaced(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"file": b"content"})
    (tmp_path / "file").write_bytes(b"CONTENT")

    assert restore_to(repository, tmp_path).files == 1
    assert files_below(tmp_path) == {"file": b"content"}


def test_if_different_trusts_size_and_time_and_always_does_not(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"file": b"content"})
    restore_to(repository, tmp_path)
    (tmp_path / "file").write_bytes(b"CONTENT")
    os.utime(tmp_path / "file", (1704164645, 1704164645))

    restore_to(repository, tmp_path, overwrite="if-different")
    assert files_below(tmp_path) == {"file": b"CONTENT"}
    restore_to(repository, tmp_path, overwrite="if-different", verify=True)
    assert files_below(tmp_path) == {"file": b"content"}
    (tmp_path / "file").write_bytes(b"CONTENT")
    os.utime(tmp_path / "file", (1704164645, 1704164645))
    restore_to(repository, tmp_path, overwrite="always")
    assert files_below(tmp_path) == {"file": b"content"}


def test_never_only_adds_and_if_newer_keeps_what_is_newer(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"old": b"new content", "young": b"new content", "absent": b"new content"})
    for name, moment in (("old", 5), ("young", 2_000_000_000)):
        (tmp_path / name).write_bytes(b"mine")
        os.utime(tmp_path / name, (moment, moment))

    assert restore_to(repository, tmp_path, overwrite="never").skipped == 2
    assert files_below(tmp_path) == {"old": b"mine", "young": b"mine", "absent": b"new content"}
    restore_to(repository, tmp_path, overwrite="if-newer")
    assert files_below(tmp_path) == {"old": b"new content", "young": b"mine", "absent": b"new content"}


def test_unchanged_ranges_come_from_the_old_file_and_not_from_the_repository(
    repository: Repository, tmp_path: Path
) -> None:
    chunks = [noise(number, 10_000) for number in range(10)]
    snapshot_of(repository, {"file": chunks})
    changed = chunks.copy()
    changed[3] = noise(99, 10_000)
    (tmp_path / "file").write_bytes(b"".join(changed) + b"longer")
    for number, chunk in enumerate(chunks):
        if number != 3:
            damage(repository, chunk)

    result = restore_to(repository, tmp_path)

    assert not result.problems
    assert files_below(tmp_path) == {"file": b"".join(chunks)}


@pytest.mark.parametrize("workers", [0, 2], ids=["alone", "with helpers"])
def test_a_large_file_is_compared_and_only_what_differs_is_read(tmp_path: Path, workers: int) -> None:
    repository = new_repository(LocalStore(tmp_path / "repository"))
    chunks = large()
    snapshot_of(repository, {"large": chunks})
    out = tmp_path / "out"
    restore_to(repository, out)
    inode = (out / "large").stat().st_ino
    os.utime(out / "large", (5, 5))

    result = restore_to(repository, out, workers=workers)
    assert (result.files, result.unchanged, (out / "large").stat().st_ino) == (0, 1, inode)
    with open(out / "large", "r+b") as file:
        file.seek(100 << 13)
        file.write(b"changed")
    for chunk in chunks[:100]:
        damage(repository, chunk)

    result = restore_to(repository, out, workers=workers)
    assert not result.problems
    assert (out / "large").read_bytes() == b"".join(chunks)


def test_a_link_in_the_place_of_a_folder_is_replaced_and_what_it_leads_to_left_alone(
    repository: Repository, tmp_path: Path
) -> None:
    snapshot_of(repository, {"folder": {"file": b"content"}})
    victim = tmp_path / "victim"
    victim.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / "folder").symlink_to(victim)

    assert not restore_to(repository, out).problems
    assert files_below(out) == {"folder/file": b"content"}
    assert not (out / "folder").is_symlink()
    assert not list(victim.iterdir())


def test_with_never_a_link_in_the_place_of_a_folder_stays_and_is_told(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"folder": {"file": b"content"}})
    victim = tmp_path / "victim"
    victim.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / "folder").symlink_to(victim)

    result = restore_to(repository, out, overwrite="never")

    assert [problem.path for problem in result.problems] == [b"folder"]
    assert (out / "folder").is_symlink()
    assert not list(victim.iterdir())


def test_a_folder_in_the_place_of_a_file_is_removed_only_by_an_exact_mirror(
    repository: Repository, tmp_path: Path
) -> None:
    snapshot_of(repository, {"file": b"content"})
    (tmp_path / "file" / "below").mkdir(parents=True)

    assert [problem.path for problem in restore_to(repository, tmp_path).problems] == [b"file"]
    assert (tmp_path / "file" / "below").is_dir()
    assert not restore_to(repository, tmp_path, delete=True).problems
    assert files_below(tmp_path) == {"file": b"content"}


def test_an_exact_mirror_removes_what_the_snapshot_does_not_have(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"kept": {"file": b"content"}})
    victim = tmp_path / "victim"
    (victim / "inside").mkdir(parents=True)
    out = tmp_path / "out"
    (out / "gone" / "a" / "b").mkdir(parents=True)
    (out / "gone" / "a" / "file").write_bytes(b"x")
    (out / "gone" / "link").symlink_to(victim)
    (out / "kept").mkdir()
    (out / "kept" / "extra").write_bytes(b"x")

    result = restore_to(repository, out, delete=True)

    assert everything_below(out) == ["kept", "kept/file"]
    assert result.deleted == 6
    assert (victim / "inside").is_dir()


def test_an_exact_mirror_of_a_choice_leaves_the_rest_alone(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"a": {"file": b"1"}, "b": {"file": b"2"}})
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "extra").write_bytes(b"x")

    def select(path: bytes, is_folder: bool) -> tuple[bool, bool]:
        return path.split(b"/")[0] == b"a", path.split(b"/")[0] == b"a"

    restore_to(repository, tmp_path, delete=True, select=select)

    assert everything_below(tmp_path) == ["a", "a/file", "b", "b/extra", "c", "c/extra"]


def test_a_mirror_removes_nothing_from_a_folder_whose_tree_cannot_be_read(
    repository: Repository, tmp_path: Path
) -> None:
    writer = snapshot_of(repository, {"folder": {"file": b"content"}})
    tree = writer.tree({"file": b"content"})
    place = repository.index.find(BlobType.TREE, bytes.fromhex(tree))
    assert place is not None
    key = object_key(DATA, repository.index.packs[place.pack].hex())
    pack = bytearray(repository.store.get(key))
    pack[place.offset + 20] ^= 1
    repository.store.put(key, bytes(pack))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_bytes(b"mine")

    result = restore_to(reopened(repository), tmp_path, delete=True)

    assert [problem.path for problem in result.problems] == [b"folder"]
    assert files_below(tmp_path) == {"folder/mine": b"mine"}


# ---------------------------------------------------------------------- hard links


def hard_linked(repository: Repository, names: dict[bytes, bytes]) -> str:
    """A tree of files that are all one inode; each name has the given content."""
    writer = Writer(repository)
    nodes = []
    for name, content in sorted(names.items()):
        ids = [writer.blob(BlobType.DATA, content).hex()]
        nodes.append(
            encode_file_node(name_json(name), go_mode(0o100644), TIME, TIME, OWNER, 7, 7, len(content), len(names), ids)
        )
    tree = writer.blob(BlobType.TREE, encode_tree(nodes)).hex()
    writer.flush()
    return tree


def restore_tree(repository: Repository, tree: str, place: Path, **options: Any) -> RestoreResult:
    return restore(repository, tree, FolderTarget(place), options=RestoreOptions(**({"workers": 0} | options)))


def test_names_of_one_file_become_names_of_one_file_again(repository: Repository, tmp_path: Path) -> None:
    tree = hard_linked(repository, {b"one": b"same", b"two": b"same", b"three": b"same"})

    for _ in range(2):
        result = restore_tree(repository, tree, tmp_path)
        assert not result.problems
        assert len({(tmp_path / name).stat().st_ino for name in ("one", "two", "three")}) == 1
        assert (tmp_path / "one").stat().st_nlink == 3
        assert everything_below(tmp_path) == ["one", "three", "two"]


def test_names_stored_with_different_contents_do_not_become_one_file(repository: Repository, tmp_path: Path) -> None:
    tree = hard_linked(repository, {b"one": b"before", b"two": b"after"})

    restore_tree(repository, tree, tmp_path)

    assert files_below(tmp_path) == {"one": b"before", "two": b"after"}


def test_a_name_left_alone_does_not_lend_its_content_to_the_others(repository: Repository, tmp_path: Path) -> None:
    tree = hard_linked(repository, {b"one": b"stored", b"two": b"stored", b"three": b"stored"})
    (tmp_path / "one").write_bytes(b"mine")

    result = restore_tree(repository, tree, tmp_path, overwrite="never")

    assert not result.problems
    assert files_below(tmp_path) == {"one": b"mine", "two": b"stored", "three": b"stored"}
    assert (tmp_path / "two").stat().st_ino == (tmp_path / "three").stat().st_ino


def test_when_a_file_cannot_be_had_all_its_names_are_told(repository: Repository, tmp_path: Path) -> None:
    tree = hard_linked(repository, {b"one": b"same" * 20, b"two": b"same" * 20})
    damage(repository, b"same" * 20)

    result = restore_tree(repository, tree, tmp_path)

    assert sorted(problem.path for problem in result.problems) == [b"one", b"two"]
    assert not files_below(tmp_path)


# ---------------------------------------------------------------------- damage and failure


@pytest.mark.parametrize("workers", [0, 2], ids=["alone", "with helpers"])
def test_a_damaged_blob_fails_its_files_and_no_other(tmp_path: Path, workers: int) -> None:
    repository = new_repository(LocalStore(tmp_path / "repository"))
    bad = noise(5, 5000)
    snapshot_of(repository, {"one": [noise(1), bad], "two": bad, "good": {"file": [noise(1), noise(2)]}})
    damage(repository, bad)
    out = tmp_path / "out"
    (out / "two").parent.mkdir()
    (out / "two").write_bytes(b"what was there before")

    result = restore_to(repository, out, workers=workers)

    assert result.failed == 2
    assert sorted(problem.path for problem in result.problems) == [b"one", b"two"]
    assert {problem.code for problem in result.problems} == {"HF-REPO-DAMAGED"}
    assert sha256(bad).hexdigest() in result.problems[0].reason
    assert files_below(out) == {"two": b"what was there before", "good/file": noise(1) + noise(2)}
    assert everything_below(out) == ["good", "good/file", "two"]


@pytest.mark.parametrize("workers", [0, 2], ids=["alone", "with helpers"])
def test_a_large_file_with_a_damaged_blob_leaves_nothing_behind(tmp_path: Path, workers: int) -> None:
    repository = new_repository(LocalStore(tmp_path / "repository"))
    chunks = large()
    snapshot_of(repository, {"large": chunks})
    damage(repository, chunks[120])
    out = tmp_path / "out"

    result = restore_to(repository, out, workers=workers)

    assert [problem.path for problem in result.problems] == [b"large"]
    assert everything_below(out) == []


def test_a_blob_no_index_knows_fails_its_file(repository: Repository, tmp_path: Path) -> None:
    writer = Writer(repository)
    node = encode_file_node(name_json(b"file"), 420, TIME, TIME, OWNER, 1, 1, 5, 1, ["ab" * 32])
    tree = writer.blob(BlobType.TREE, encode_tree([node])).hex()
    writer.flush()

    result = restore_tree(repository, tree, tmp_path)

    assert [(problem.path, problem.code) for problem in result.problems] == [(b"file", "HF-REPO-BLOBMISSING")]
    assert everything_below(tmp_path) == []


def test_a_copy_elsewhere_stands_in_for_a_damaged_one(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"file": b"content" * 10})
    damage(repository, b"content" * 10)
    writer = Writer(repository)
    writer.force = True
    writer.blob(BlobType.DATA, b"content" * 10)
    writer.flush()

    assert not restore_to(reopened(repository), tmp_path).problems
    assert files_below(tmp_path) == {"file": b"content" * 10}


def test_a_read_that_fails_once_is_repeated(tmp_path: Path) -> None:
    store = MemoryStore()
    snapshot_of(new_repository(store), {"file": noise(1), "other": noise(2)})
    seen: set[str] = set()

    def first_time(key: str) -> bool:
        return key.startswith("data/") and key not in seen and not seen.add(key)  # type: ignore[func-returns-value]

    repository = reopened(Repository.open(CorruptingStore(store, keys=first_time), "correct horse"))

    assert not restore_to(repository, tmp_path).problems
    assert files_below(tmp_path) == {"file": noise(1), "other": noise(2)}


def test_a_storage_that_is_gone_ends_the_run(tmp_path: Path) -> None:
    store = MemoryStore()
    snapshot_of(new_repository(store), {"a": {"file": noise(1)}, "b": {"file": noise(2)}})
    repository = reopened(Repository.open(store, "correct horse"))
    tree = newest_tree(repository)
    repository.store = FailingStore(store, from_request=3, verbs={"get"})

    with pytest.raises(StoreUnreachable):
        restore(repository, tree, FolderTarget(tmp_path), options=RestoreOptions(workers=0))

    assert not [name for name in everything_below(tmp_path) if "holdfast" in name]


class FullTarget(FolderTarget):
    """A folder on a disk that fills up at the third file."""

    def folder(self, path: bytes, *, fresh: bool = False) -> Any:
        folder = super().folder(path, fresh=fresh)
        put, count = folder.put, [0]

        def failing(entry: Entry, data: bytes) -> None:
            count[0] += 1
            if count[0] == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            put(entry, data)

        folder.put = failing  # type: ignore[method-assign]
        return folder


@pytest.mark.parametrize("workers", [0, 2], ids=["alone", "with helpers"])
def test_a_full_disk_ends_the_run_and_leaves_only_whole_files(tmp_path: Path, workers: int) -> None:
    repository = new_repository(LocalStore(tmp_path / "repository"))
    files = {f"{number}": noise(number) for number in range(10)}
    snapshot_of(repository, files)

    with pytest.raises(TargetFull) as caught:
        restore_to(repository, FullTarget(tmp_path / "out"), workers=workers)

    assert caught.value.code == "HF-TARGET-FULL"
    left = files_below(tmp_path / "out")
    assert len(left) == 2
    assert left.items() <= files.items()


def test_an_item_the_target_refuses_is_told_and_the_others_are_restored(repository: Repository, tmp_path: Path) -> None:
    writer = Writer(repository)
    content = [writer.blob(BlobType.DATA, b"content").hex()]
    nodes = [
        encode_file_node(name_json(name), 420, TIME, TIME, OWNER, 1, 1, 7, 1, content) for name in (b"f", b"n" * 300)
    ]
    tree = writer.blob(BlobType.TREE, encode_tree(nodes)).hex()
    writer.flush()

    result = restore_tree(repository, tree, tmp_path)

    assert [problem.path for problem in result.problems] == [b"n" * 300]
    assert files_below(tmp_path) == {"f": b"content"}


def test_verify_reads_back_and_does_not_let_a_wrong_file_be_seen(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {"file": [noise(1), noise(2)], "small": noise(3)})

    class Forgetful(FolderTarget):
        def folder(self, path: bytes, *, fresh: bool = False) -> Any:
            folder = super().folder(path, fresh=fresh)
            create = folder.create

            def bad(*args: Any, **options: Any) -> Any:
                file = create(*args, **options)
                write = file.write

                class Wrong:
                    token = b""
                    read, finish, close = file.read, file.finish, file.close

                    def write(self, data: bytes, offset: int) -> None:
                        write(bytes(data[:-1]) + b"?", offset)

                return Wrong()

            folder.create = bad  # type: ignore[method-assign]
            return folder

    result = restore_to(repository, Forgetful(tmp_path), verify=True)

    assert result.failed == 2
    assert everything_below(tmp_path) == []


def test_nowhere_verifies_everything(repository: Repository) -> None:
    snapshot_of(repository, {"a": {"file": noise(1)}, "b": [noise(2), noise(3)]})
    result = restore_to(repository, NullTarget())
    assert (result.files, result.written, result.failed) == (2, 6000, 0)
    damage(repository, noise(3))

    assert [problem.path for problem in restore_to(repository, NullTarget()).problems] == [b"b"]


@pytest.mark.parametrize("quick", [True, False], ids=["new kernel", "old kernel"])
@pytest.mark.parametrize("workers", [0, 2], ids=["alone", "with helpers"])
def test_a_canceled_restore_leaves_whole_files_only(tmp_path: Path, workers: int, quick: bool) -> None:
    repository = new_repository(LocalStore(tmp_path / "repository"))
    files = {f"{number:04d}": noise(number, 300) for number in range(1500)}
    split = {name: [data[:200], data[200:]] for name, data in files.items()}
    snapshot_of(repository, {"large": large(), "many": split})
    cancel = CancelToken()
    seen = []

    class Stopping:
        def update(self, *, files: int = 0, bytes: int = 0, **_: Any) -> None:
            seen.append(bytes)
            cancel.cancel()

        def problem(self, path: str, message: str) -> None:
            raise AssertionError(message)

    tree = newest_tree(repository)
    with pytest.raises(Canceled):
        restore(
            repository,
            tree,
            FolderTarget(tmp_path / "out", quick=quick),
            options=RestoreOptions(workers=workers),
            progress=Stopping(),
            cancel=cancel,
        )

    left = files_below(tmp_path / "out")
    assert {name.removeprefix("many/"): data for name, data in left.items() if name != "large"}.items() <= files.items()
    assert not [name for name in everything_below(tmp_path / "out") if "holdfast" in name]


def test_a_file_that_is_half_written_when_the_run_stops_leaves_nothing(repository: Repository, tmp_path: Path) -> None:
    chunks = [noise(1), noise(2)]
    snapshot_of(repository, {"file": chunks})
    answers = iter([False, True])
    folder = FolderTarget(tmp_path, quick=False).folder(b"")
    batch = Batch(repository, RestoreOptions(), pytest.fail, lambda: next(answers))
    before = open_descriptors()

    batch.add(folder, b"file", Entry(b"file", "file", 0o644, 0, 0), b"".join(sha256(c).digest() for c in chunks))
    batch.run()

    assert everything_below(tmp_path) == []
    assert open_descriptors() == before


def test_no_descriptor_stays_open(repository: Repository, tmp_path: Path) -> None:
    snapshot_of(repository, {f"{number}": {"file": noise(number)} for number in range(100)} | {"large": large()})
    damage(repository, noise(7))
    before = open_descriptors()

    restore_to(repository, tmp_path, verify=True, sparse=True)
    restore_to(repository, tmp_path, delete=True)

    assert open_descriptors() == before


# ---------------------------------------------------------------------- hostile trees


def hostile(repository: Repository, *nodes: bytes) -> str:
    writer = Writer(repository)
    writer.blob(BlobType.DATA, b"evil")
    tree = writer.blob(BlobType.TREE, encode_tree(nodes)).hex()
    writer.flush()
    return tree


def evil_file(name: bytes) -> bytes:
    content = [sha256(b"evil").hexdigest()]
    return encode_file_node(name_json(name), go_mode(0o104755), TIME, TIME, OWNER, 1, 1, 4, 1, content)


@pytest.mark.parametrize("name", [b"..", b".", b"", b"/absolute", b"../up", b"a/b", b"zero\0byte"])
def test_a_name_that_leads_elsewhere_is_refused_and_the_rest_restored(
    repository: Repository, tmp_path: Path, name: bytes
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    tree = hostile(repository, evil_file(name), evil_file(b"harmless"))

    result = restore_tree(repository, tree, out)

    assert result.failed == 1
    assert everything_below(tmp_path) == ["out", "out/harmless"]


def test_a_link_and_a_folder_of_the_same_name_lead_nowhere_else(repository: Repository, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    inner = hostile(repository, evil_file(b"file"))
    link = encode_special_node(
        name_json(b"x"), "symlink", go_mode(0o120777), TIME, TIME, OWNER, 1, 1, 1, os.fsencode(victim)
    )
    folder = encode_dir_node(name_json(b"x"), go_mode(0o40755), TIME, TIME, OWNER, 2, 1, inner)

    for nodes in ((link, folder), (folder, link)):
        restore_tree(repository, hostile(repository, *nodes), tmp_path / "out")
        assert not list(victim.iterdir())


def test_a_tree_far_deeper_than_any_folder_is_told_and_ends(repository: Repository, tmp_path: Path) -> None:
    writer = Writer(repository, pack_blobs=10**6)
    tree = writer.tree({"file": b"at the bottom"})
    for _ in range(2100):
        tree = writer.above(tree, "d")
    writer.flush()

    result = restore(repository, tree, NullTarget(), options=RestoreOptions(workers=0))

    assert result.failed == 1
    assert "2000 folders deep" in result.problems[0].reason


def test_folders_deeper_than_a_path_may_be_long_come_back(repository: Repository, tmp_path: Path) -> None:
    writer = Writer(repository, pack_blobs=10**6)
    tree = writer.tree({"file": b"at the bottom"})
    for _ in range(60):
        tree = writer.above(tree, "d" * 100)
    writer.flush()

    result = restore_tree(repository, tree, tmp_path)

    assert (result.failed, result.files, result.folders) == (0, 1, 60)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ('"content":[]', '"content":null'),
        ('"type":"file"', '"type":"irregular"'),
        ('"mtime":"2024-01-02T03:04:05Z"', '"mtime":"yesterday"'),
    ],
)
def test_an_impossible_node_is_told_and_the_rest_restored(
    repository: Repository, tmp_path: Path, field: str, value: str
) -> None:
    bad = encode_file_node(name_json(b"bad"), 420, TIME, TIME, OWNER, 1, 1, 0, 1, [])
    assert field.encode() in bad

    result = restore_tree(
        repository, hostile(repository, bad.replace(field.encode(), value.encode()), evil_file(b"good")), tmp_path
    )

    assert [problem.path for problem in result.problems] == [b"bad"]
    assert everything_below(tmp_path) == ["good"]


def test_a_link_target_or_attribute_with_a_zero_byte_is_told(repository: Repository, tmp_path: Path) -> None:
    link = encode_special_node(name_json(b"l"), "symlink", go_mode(0o120777), TIME, TIME, OWNER, 1, 1, 1, b"a\0b")
    file = encode_file_node(
        name_json(b"f"),
        420,
        TIME,
        TIME,
        OWNER,
        1,
        1,
        0,
        1,
        [],
        ',"extended_attributes":[{"name":"user.a\\u0000b","value":""}]',
    )

    result = restore_tree(repository, hostile(repository, file, link), tmp_path)

    assert [problem.path for problem in result.problems] == [b"f", b"l"]

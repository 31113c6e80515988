"""The figures are those of stock restic, in all four modes."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from backups.engine.blob import BlobType
from backups.engine.errors import BlobMissing, Corrupt
from backups.engine.output import Console
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot
from backups.engine.stats import MODES, Mode, stats
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import TIME, Writer, local, new_repository, noise, on_disk, reopened
from tests.peers import PASSWORD, Restic


def fill(source: Path) -> None:
    """Files that share contents and blobs, hard links in one folder and across two, links, empty ones."""
    (source / "d" / "deep").mkdir(parents=True)
    (source / "a").write_bytes(noise(1, 3_000_000))
    (source / "same as a").write_bytes(noise(1, 3_000_000))
    (source / "longer").write_bytes(noise(1, 3_000_000) + b"tail" * 300_000)
    (source / "text").write_text("words " * 10_000)
    (source / "empty").touch()
    (source / "link").symlink_to("a")
    (source / "d" / "linked").write_bytes(noise(2, 5_000))
    os.link(source / "d" / "linked", source / "linked too")
    os.link(source / "d" / "linked", source / "d" / "deep" / "linked three")
    (source / "d" / "deep" / "text").write_text("words " * 10_000)
    os.mkfifo(source / "fifo")


@pytest.mark.parametrize("version", [1, 2])
def test_every_mode_counts_as_stock_does(tmp_path: Path, newest_restic: Restic, version: int) -> None:
    objects: dict[str, bytes] = {}
    new_repository(MemoryStore(objects), version=version)
    path = on_disk(objects, tmp_path / "repository")
    source = tmp_path / "source"
    fill(source)
    newest_restic.run(path, "backup", source)
    (source / "text").write_text("other words " * 10_000)
    (source / "d" / "deep" / "text").unlink()
    newest_restic.run(path, "backup", source)
    repository = Repository.open(local(path), PASSWORD)
    repository.load_index()
    for mode in MODES:
        theirs = newest_restic.json(path, "stats", "--mode", mode)
        ours = msgspec.to_builtins(stats(repository, repository.snapshots(), mode))
        assert ours == {key: pytest.approx(value) for key, value in theirs.items() if value}, mode


@pytest.mark.parametrize("mode", MODES)
def test_a_missing_tree_is_an_error_in_every_mode(mode: Mode) -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    writer.snapshot({"a": b"a"})
    (snapshot,) = repository.snapshots()
    for name in repository.ids("data"):
        repository.remove_object("data", name)
    with pytest.raises((BlobMissing, Corrupt)):
        stats(reopened(repository), [snapshot], mode)


@pytest.mark.parametrize("content", ["x", "", "0" * 63, "g" * 64])
def test_a_content_that_is_no_id_is_damage(content: str) -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    tree = b'{"nodes":[{"name":"f","type":"file","size":1,"content":["%b"]}]}\n' % content.encode()
    snapshot = Snapshot(time=TIME, tree=writer.blob(BlobType.TREE, tree).hex())
    writer.flush()
    with pytest.raises(BlobMissing):
        stats(repository, [snapshot], "blobs-per-file")


def test_a_sum_beyond_all_numbers_is_shown_as_the_largest(capsys: pytest.CaptureFixture[str]) -> None:
    Console(json=True).record({"total_size": 2**65, "paths": [2**64]})
    assert capsys.readouterr().out == '{"total_size":18446744073709551615,"paths":[18446744073709551615]}\n'


def test_a_deep_chain_of_folders_is_no_problem() -> None:
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    tree = writer.tree({"end": noise(1, 10)})
    for _ in range(3000):
        tree = writer.above(tree, "d")
    writer.flush()
    snapshot = Snapshot(time=TIME, tree=tree)
    for mode in MODES:
        assert stats(repository, [snapshot], mode).total_size >= 10


def test_folders_that_are_shared_again_and_again_are_read_once() -> None:
    """A tree of 2^60 files in sixty blobs."""
    repository = new_repository(MemoryStore())
    writer = Writer(repository)
    tree = writer.tree({"end": noise(1, 10)})
    for _ in range(60):
        tree = writer.above(tree, "a", "b")
    writer.flush()
    snapshot = Snapshot(time=TIME, tree=tree)
    assert stats(repository, [snapshot]).total_size == 10 * 2**60
    assert stats(repository, [snapshot], "files-by-contents").total_file_count == 2
    assert stats(repository, [snapshot], "blobs-per-file").total_size == 10
    assert stats(repository, [snapshot], "raw-data").total_blob_count == 62

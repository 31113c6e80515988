"""The golden repository: made by another program, to the byte known, and read by ours in every way."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from backups.engine.blob import BlobType
from backups.engine.errors import WrongKey
from backups.engine.repository import Repository
from backups.engine.tree import decode_tree, encode_node, encode_tree, reencodes_identically
from backups.sources import FolderSource
from destinations.storage.memory import MemoryStore
from tests.engine import golden
from tests.engine.repositories import assert_whole, on_disk
from tests.engine.running import content, findings, nodes, run_backup
from tests.peers import Restic


@pytest.fixture
def repository() -> Repository:
    opened = Repository.open(MemoryStore(golden.golden_objects()), golden.PASSWORD)
    opened.load_index()
    return opened


def test_it_opens_with_its_password_alone(repository: Repository) -> None:
    assert repository.version == 2
    assert repository.chunker.polynomial == golden.POLYNOMIAL
    assert_whole(repository)
    with pytest.raises(WrongKey):
        Repository.open(MemoryStore(golden.golden_objects()), "silver")


def test_its_blobs_are_what_their_names_say(repository: Repository) -> None:
    assert repository.load_blob(BlobType.DATA, bytes.fromhex(golden.HELLO)) == b"hello repository\n"
    assert repository.load_blob(BlobType.DATA, bytes.fromhex(golden.COMPRESSED)) == b"compress me " * 40
    assert repository.load_tree(golden.TREE) == golden.TREE_JSON
    assert sha256(golden.TREE_JSON).hexdigest() == golden.TREE


def test_its_snapshot_has_its_files(repository: Repository) -> None:
    (snapshot,) = repository.snapshots()
    assert snapshot.tree == golden.TREE
    found = nodes(repository, snapshot.tree)
    assert list(found) == [b'a"b\\c', "déjà <1>".encode(), b"empty", b"l\xff"]
    assert content(repository, found[b'a"b\\c']) == b"hello repository\n"
    assert content(repository, found["déjà <1>".encode()]) == b"compress me " * 40
    assert content(repository, found[b"empty"]) == b""
    assert found[b"l\xff"].raw_target == b"t\xff&"
    assert [(a.name, a.value) for a in found["déjà <1>".encode()].extended_attributes or []] == [("user.k", b"v")]


def test_a_check_of_every_byte_finds_nothing(repository: Repository) -> None:
    assert findings(repository) == []


def test_its_tree_is_what_we_would_write(repository: Repository) -> None:
    assert encode_tree([encode_node(node) for node in decode_tree(golden.TREE_JSON)]) == golden.TREE_JSON
    assert reencodes_identically(golden.TREE_JSON)


def test_a_backup_goes_on_from_it(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"compress me " * 40)
    result = run_backup(repository, FolderSource([b"file"]), parent=repository.snapshots()[0])
    assert result.counts.data_blobs == 0
    assert len(repository.snapshots()) == 2


def test_stock_reads_it_as_we_do(restic: Restic, tmp_path: Path) -> None:
    path = on_disk(golden.golden_objects(), tmp_path / "golden")
    restic.run(path, "check", "--read-data", password=golden.PASSWORD)
    (snapshot,) = restic.json(path, "snapshots", password=golden.PASSWORD)
    assert snapshot["tree"] == golden.TREE

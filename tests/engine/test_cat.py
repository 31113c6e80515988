"""cat shows what is inside an object, for every kind of object, as stock restic does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backups.engine.blob import BlobType
from backups.engine.cat import BINARY, KINDS, cat
from backups.engine.errors import BadRequest, BlobMissing, SnapshotMissing
from backups.engine.layout import DATA, INDEX, LOCKS, SNAPSHOTS
from backups.engine.repository import Repository
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import Writer, new_repository, on_disk
from tests.peers import Restic


def make(objects: dict[str, bytes]) -> tuple[Repository, dict[str, str]]:
    """A repository, and a name to ask for by each kind of object."""
    repository = new_repository(MemoryStore(objects))
    snapshot = Writer(repository).snapshot({"a": b"content of a", "d": {"b": b"b"}})
    lock = repository.save_object(LOCKS, b'{"time":"2024-01-01T00:00:00Z","exclusive":true,"pid":1}')
    blob = next(i for k, i, _ in repository.index.items() if repository.load_blob(k, i) == b"content of a")
    return repository, {
        "masterkey": "",
        "config": "",
        "pack": next(iter(repository.ids(DATA))),
        "blob": blob.hex(),
        "snapshot": snapshot,
        "index": next(iter(repository.ids(INDEX))),
        "key": repository.key_id,
        "lock": lock,
        "tree": f"{snapshot}:d",
    }


def test_every_kind_is_what_stock_shows(tmp_path: Path, newest_restic: Restic) -> None:
    objects: dict[str, bytes] = {}
    repository, names = make(objects)
    assert names.keys() == set(KINDS)
    path = on_disk(objects, tmp_path / "repository")
    for what, name in names.items():
        theirs = newest_restic.output(path, "--no-lock", "--quiet", "cat", what, *([name] if name else [])).stdout
        ours = cat(repository, what, name)
        if what == "tree":
            assert json.loads(ours) == json.loads(theirs)
        elif what in BINARY:
            assert ours == theirs
        else:
            said = json.loads(ours)
            said.pop("created", None)  # stock spells the same moment without trailing zeros
            assert said.items() <= json.loads(theirs).items(), what


def test_the_beginning_of_an_id_is_enough_if_it_is_the_only_one() -> None:
    repository, names = make({})
    assert cat(repository, "snapshot", names["snapshot"][:10]) == cat(repository, "snapshot", names["snapshot"])
    assert cat(repository, "tree", "latest") == repository.load_tree(repository.snapshots()[0].tree)
    with pytest.raises(BadRequest, match="begin with"):
        cat(repository, "snapshot", "x")


def test_what_does_not_exist_is_a_clear_error() -> None:
    repository, names = make({})
    for what, name in (("nonsense", ""), ("config", "abc"), ("pack", ""), ("blob", "abc"), ("tree", "latest:nowhere")):
        with pytest.raises(BadRequest):
            cat(repository, what, name)
    with pytest.raises(BlobMissing):
        cat(repository, "blob", "0" * 64)
    repository.remove_object(SNAPSHOTS, names["snapshot"])
    with pytest.raises(SnapshotMissing):
        cat(repository, "tree", "latest")


def test_a_tree_blob_is_found_by_its_id() -> None:
    repository, _ = make({})
    tree = repository.snapshots()[0].tree
    assert cat(repository, "blob", tree) == repository.load_blob(BlobType.TREE, bytes.fromhex(tree))

"""One damaged object costs what it held and no more: the rest goes on, and a few commands make it whole again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from backups.engine.blob import BlobType
from backups.engine.layout import DATA, INDEX, SNAPSHOTS, object_key
from tests.engine.running import contents_below
from tests.interop.ours import Ours, new_repository
from tests.peers import Restic

RNG = random.Random(11)
FILES = {
    "a": b"one",
    "d/b": b"two" * 500,
    "d/e/c": RNG.randbytes(3000),
    "large": RNG.randbytes(700_000),
    "old": b"only in the first snapshot",
}


@pytest.fixture
def ours(tmp_path: Path) -> Ours:
    """Two snapshots of a source; the second has a file less and one more."""
    made = new_repository(tmp_path)
    for name, data in FILES.items():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes(data)
    made.quick("backup", "source", cwd=tmp_path)
    (tmp_path / "source" / "old").unlink()
    (tmp_path / "source" / "new").write_bytes(b"only in the second")
    made.quick("backup", "source", cwd=tmp_path)
    return made


def source(ours: Ours) -> dict[bytes, bytes]:
    top = ours.repo.parent
    files = [path for path in (top / "source").rglob("*") if path.is_file()]
    return {bytes(path.relative_to(top)): path.read_bytes() for path in files}


def flip(ours: Ours, key: str, place: int = -1) -> None:
    path = ours.repo / key
    whole = bytearray(path.read_bytes())
    whole[place if place >= 0 else len(whole) // 2] ^= 4
    path.chmod(0o600)
    path.write_bytes(whole)


def says(ours: Ours, *args: str | Path, code: int | None = 0) -> str:
    """Run a verb and return all it said; it has to end with this code (None: any) and without a traceback."""
    process = ours.fork(*args, cwd=ours.repo.parent)
    said, errors = process.communicate()
    text = (said + errors).decode("utf-8", "surrogateescape")
    assert code is None or process.returncode == code, text
    assert "Traceback" not in text
    return text


def assert_goes_on(ours: Ours, *, find_code: int | None = 0) -> None:
    """Backups are made and come back whole, whatever else is wrong."""
    says(ours, "backup", "source")
    out = ours.repo.parent / f"out-{RNG.random()}"
    says(ours, "restore", "latest", "--target", out, "--verify")
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {bytes(path.relative_to(out)): path.read_bytes() for path in files} == source(ours)
    says(ours, "snapshots")
    says(ours, "ls", "latest")
    assert "/source/large" in says(ours, "find", "large", code=find_code)
    assert says(ours, "dump", "latest", "source/a").startswith("one")


def assert_whole(ours: Ours, restic: Restic, *, first: bool) -> None:
    """Both programs find nothing wrong, and every snapshot that is left reads back."""
    assert says(ours, "check", "--read-data")
    restic.run(ours.repo, "check", "--read-data")
    says(ours, "prune")
    repository = ours.open()
    trees = [contents_below(repository, snapshot.tree) for snapshot in repository.snapshots()]
    assert trees[-1] == source(ours)
    assert any(b"source/old" in tree for tree in trees) == first


def test_a_damaged_snapshot_object_costs_that_snapshot(ours: Ours, newest_restic: Restic) -> None:
    first, second = ours.open().snapshots()
    flip(ours, object_key(SNAPSHOTS, second.id))
    assert second.id in says(ours, "snapshots")
    assert_goes_on(ours)
    says(ours, "restore", first.id, "--target", "first")
    refused = says(ours, "restore", second.id, "--target", "second", code=1)
    assert second.id in refused
    assert second.id in says(ours, "check", code=1)
    # Nothing is freed while it is not known what a snapshot needs.
    says(ours, "prune", code=1)
    says(ours, "repair", "snapshots", "--dry-run", "--forget")
    assert (ours.repo / object_key(SNAPSHOTS, second.id)).exists()
    says(ours, "repair", "snapshots", "--forget")
    assert not (ours.repo / object_key(SNAPSHOTS, second.id)).exists()
    assert_whole(ours, newest_restic, first=True)


def test_a_damaged_index_object_costs_nothing_in_the_end(ours: Ours, newest_restic: Restic) -> None:
    for name in ours.open().ids(INDEX):
        flip(ours, object_key(INDEX, name))
    assert "left out" in says(ours, "backup", "source")
    assert_goes_on(ours, find_code=1)
    says(ours, "check", code=1)
    says(ours, "prune", code=1)
    says(ours, "repair", "index")
    assert_whole(ours, newest_restic, first=True)


def _pack_of(ours: Ours, kind: BlobType, number: int = 0) -> str:
    repository = ours.open()
    packs = sorted({place.pack for found, _, place in repository.index.items() if found == kind})
    return repository.index.packs[packs[number]].hex()


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
@pytest.mark.parametrize("kind", BlobType)
def test_a_damaged_pack_is_healed_by_what_the_source_still_has(
    ours: Ours, newest_restic: Restic, kind: BlobType, damage: str
) -> None:
    pack = _pack_of(ours, kind)
    path = ours.repo / object_key(DATA, pack)
    match damage:
        case "flipped":
            flip(ours, object_key(DATA, pack), 20)
        case "cut":
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[:-30])
        case "missing":
            path.unlink()
    said = says(ours, "check", "--read-data", code=1)
    assert pack in said
    if damage != "flipped":
        says(ours, "repair", "index")
    if damage != "missing":
        says(ours, "repair", "packs", pack)
    says(ours, "backup", "--force", "source")
    says(ours, "repair", "snapshots", "--forget")
    repository = ours.open()
    last = repository.snapshots()[-1]
    assert contents_below(repository, last.tree) == source(ours)
    says(ours, "check", "--read-data")
    newest_restic.run(ours.repo, "check", "--read-data")


def test_a_backup_after_a_lost_pack_stores_it_again_by_itself(ours: Ours, newest_restic: Restic) -> None:
    """Nobody has to run a repair for the source to be safe again."""
    for kind in BlobType:
        (ours.repo / object_key(DATA, _pack_of(ours, kind))).unlink()
        assert_goes_on(ours, find_code=None)
    says(ours, "repair", "index")
    says(ours, "repair", "snapshots", "--forget")
    newest_restic.run(ours.repo, "check", "--read-data")


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_bytes(b"{}")])
def test_without_its_last_key_nothing_opens_and_that_is_said(ours: Ours, change: Callable[[Path], None]) -> None:
    (key,) = (ours.repo / "keys").iterdir()
    key.chmod(0o600)
    change(key)
    for verb in (["snapshots"], ["backup", "source"], ["check"], ["prune"], ["unlock"]):
        process = ours.fork(*verb, cwd=ours.repo.parent)
        errors = process.communicate()[1]
        assert process.returncode in (1, 12)
        assert b"Traceback" not in errors
        assert errors

"""What we write, stock restic reads, extends and maintains as its own; and the other way round."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

from backups.engine.blob import BlobType, Codec
from tests.engine.awkward import Described, describe, differences
from tests.engine.repositories import assert_whole
from tests.interop.ours import give_quick_key, new_repository, on_repository
from tests.peers import RepositoryMaker, Restic


def comparable(restic: Restic, tree: dict[bytes, Described]) -> dict[bytes, Described]:
    """A described tree without what this restic does not bring back.

    No version keeps names of attributes that are not text.  Older ones take the attributes of a link for those of its
    target, and spoil link targets that are not text.
    """
    old = restic.version < (0, 16)
    lost = {"trusted.on-a-link"} if old else set()
    found = {}
    for path, item in tree.items():
        attributes = tuple(pair for pair in item.xattrs if not (pair[0] in lost or pair[0].startswith("user.latin")))
        target = item.target.decode("utf-8", "replace").encode() if old else item.target
        found[path] = item._replace(xattrs=attributes, target=target)
    return found


def assert_restored(restic: Restic, source: Path, restored: Path) -> None:
    """The restored tree is the source, as far as this restic can bring it back."""
    expected, got = (comparable(restic, describe(os.fsencode(path))) for path in (source, restored))
    assert differences(expected, got) == []


def stock_backup(restic: Restic, repo: Path, parent: Path, *args: str, **options: Any) -> dict[str, Any]:
    """Back up ``tree`` below ``parent`` and return the summary."""
    summary = restic.events(repo, "backup", *args, "tree", cwd=parent, **options)[-1]
    assert summary["message_type"] == "summary"
    found: dict[str, Any] = summary
    return found


def assert_adds_nothing(restic: Restic, summary: dict[str, Any]) -> None:
    """No byte; with an older restic, whose trees are spelled differently, no data."""
    assert summary["data_blobs"] == 0
    if restic.version >= (0, 18):
        assert summary["tree_blobs"] == 0
        assert summary["data_added"] == 0


def test_what_we_write_stock_checks_restores_extends_and_maintains(
    tmp_path: Path, restic: Restic, awkward_parent: Path
) -> None:
    _we_write(tmp_path, restic, awkward_parent, 2)


def test_version_1_written_by_us_is_stocks(tmp_path: Path, newest_restic: Restic, awkward_parent: Path) -> None:
    _we_write(tmp_path, newest_restic, awkward_parent, 1)


def _we_write(tmp_path: Path, restic: Restic, awkward_parent: Path, version: int) -> None:
    ours = new_repository(tmp_path, version)
    first = ours.summary("backup", "tree", cwd=awkward_parent)

    said = restic.run(ours.repo, "check", "--read-data")
    assert "no errors were found" in said.stdout
    assert "mixed" not in said.stdout + said.stderr

    restic.run(ours.repo, "restore", "latest", "--target", tmp_path / "out", "--verify")
    found = next((tmp_path / "out").rglob("sizes")).parent
    assert_restored(restic, awkward_parent / "tree", found)

    again = stock_backup(restic, ours.repo, awkward_parent)
    assert again["files_unmodified"] == first["files_new"]
    assert_adds_nothing(restic, again)
    if restic.version >= (0, 18):
        assert again["dirs_changed"] == again["dirs_new"] == 0
    snapshots = restic.json(ours.repo, "snapshots")
    assert snapshots[-1]["parent"] == first["snapshot_id"]
    assert_adds_nothing(restic, stock_backup(restic, ours.repo, awkward_parent, "--force"))

    restic.run(ours.repo, "tag", "--add", "seen", first["snapshot_id"])
    restic.run(ours.repo, "forget", "--keep-last", "1", "--prune")
    restic.run(ours.repo, "check", "--read-data")
    repository = ours.open()
    assert len(repository.snapshots()) == 1
    assert_whole(repository)
    last = ours.summary("backup", "tree", cwd=awkward_parent)
    assert last["data_blobs"] == 0
    restic.run(ours.repo, "check", "--read-data")


def test_what_stock_writes_we_extend_restore_and_maintain(
    tmp_path: Path, restic: Restic, restic_repository: RepositoryMaker, awkward_parent: Path
) -> None:
    _stock_writes(tmp_path, restic, restic_repository(restic, 2), awkward_parent)


def test_version_1_written_by_stock_is_ours(
    tmp_path: Path, newest_restic: Restic, restic_repository: RepositoryMaker, awkward_parent: Path
) -> None:
    _stock_writes(tmp_path, newest_restic, restic_repository(newest_restic, 1), awkward_parent)


def _stock_writes(tmp_path: Path, restic: Restic, repo: Path, awkward_parent: Path) -> None:
    first = stock_backup(restic, repo, awkward_parent)
    ours = on_repository(repo, tmp_path)
    give_quick_key(repo)

    again = ours.summary("backup", "tree", cwd=awkward_parent)
    assert_adds_nothing(restic, again)
    # An attribute name that is no text, and names that an older version spells differently, are looked at again.
    assert again["files_changed"] <= 1
    assert again["files_new"] <= (2 if restic.version < (0, 18) else 0)
    assert again["files_unmodified"] == first["files_new"] - again["files_changed"] - again["files_new"]
    assert_adds_nothing(restic, ours.summary("backup", "--force", "tree", cwd=awkward_parent))

    ours.run("restore", f"{first['snapshot_id'][:8]}", "--target", tmp_path / "out", "--verify")
    found = next((tmp_path / "out").rglob("sizes")).parent
    assert_restored(restic, awkward_parent / "tree", found)

    ours.run("tag", "--add", "ours", first["snapshot_id"][:8])
    ours.run("forget", "--keep-last", "1", "--prune", "--max-unused", "0")
    restic.run(repo, "check", "--read-data")
    snapshots = restic.json(repo, "snapshots")
    assert len(snapshots) == 1
    last = stock_backup(restic, repo, awkward_parent)
    assert last["data_blobs"] == 0
    ours.run("check", "--read-data")


def _play(folder: Path, rng: random.Random, turn: int) -> None:
    """Change a tree a little: new, changed, moved, removed."""
    (folder / f"new-{turn}").write_bytes(rng.randbytes(rng.choice([10, 3000, 700_000])))
    (folder / f"folder-{turn}").mkdir()
    (folder / f"folder-{turn}" / "file").write_bytes(rng.randbytes(100))
    with open(folder / "grows", "ab") as file:
        file.write(rng.randbytes(300_000))
    if turn > 1:
        (folder / f"new-{turn - 2}").unlink()
        (folder / f"folder-{turn - 1}").rename(folder / f"moved-{turn}")


def test_both_take_turns_in_one_repository(tmp_path: Path, all_restics: list[Restic]) -> None:
    rng = random.Random(20)
    ours = new_repository(tmp_path)
    tree = tmp_path / "work" / "tree"
    tree.mkdir(parents=True)
    expected: list[dict[bytes, Described]] = []
    for turn in range(6):
        _play(tree, rng, turn)
        before = {place for _, place, _ in ours.open().index.items()}
        if turn % 2:
            stock_backup(all_restics[turn // 2 % len(all_restics)], ours.repo, tree.parent)
        else:
            ours.run("backup", "tree", cwd=tree.parent)
        repository = ours.open()
        new = [(kind, name) for kind, name, _ in repository.index.items() if name not in before]
        # Whoever comes next finds every blob of the others: what is new is this turn's alone.
        sizes = sum(
            len(repository.load_blob(kind, name)) for kind, name in new if kind == BlobType.DATA and len(name) == 32
        )
        assert sizes <= 700_000 + 100 + 8_388_608
        assert len(new) == len(set(new))
        expected.append(describe(os.fsencode(tree)))
    newest = all_restics[-1]
    newest.run(ours.repo, "check", "--read-data")
    ids = [snapshot["id"] for snapshot in newest.json(ours.repo, "snapshots")]
    assert len(ids) == 6
    for turn, name in enumerate(ids):
        for program in ("ours", "stock"):
            out = tmp_path / f"{program}-{turn}"
            if program == "ours":
                ours.run("restore", name, "--target", out)
            else:
                newest.run(ours.repo, "restore", name, "--target", out)
            found = next(out.rglob("grows")).parent
            assert differences(expected[turn], describe(os.fsencode(found))) == []


def test_a_repository_upgraded_by_us_is_stocks_and_the_other_way_round(
    tmp_path: Path, newest_restic: Restic, awkward_parent: Path
) -> None:
    for program in ("ours", "stock"):
        ours = new_repository(tmp_path / program, 1)
        ours.run("backup", "tree", cwd=awkward_parent)
        if program == "ours":
            ours.run("upgrade")
        else:
            newest_restic.run(ours.repo, "migrate", "upgrade_repo_v2")
        config = newest_restic.json(ours.repo, "cat", "config")
        assert config["version"] == 2
        assert_adds_nothing(newest_restic, stock_backup(newest_restic, ours.repo, awkward_parent, "--force"))
        assert ours.summary("backup", "--force", "tree", cwd=awkward_parent)["data_added"] == 0
        if program == "ours":
            newest_restic.run(ours.repo, "prune", "--repack-uncompressed")
        else:
            ours.run("prune", "--repack-uncompressed")
        repository = ours.open()
        for kind, name, place in repository.index.items():
            # Random data stays as it is with us: it would not shrink.
            assert place.plain_size or (kind == BlobType.DATA and not _shrinks(repository.load_blob(kind, name)))
        newest_restic.run(ours.repo, "check", "--read-data")


def _shrinks(plain: bytes) -> bool:
    return len(Codec().compress(plain)) < len(plain)


def test_keys_work_for_both_whoever_made_them(tmp_path: Path, newest_restic: Restic, awkward_parent: Path) -> None:
    ours = new_repository(tmp_path)
    ours.run("backup", "tree/links", cwd=awkward_parent)
    (tmp_path / "second").write_text("second\n")
    (tmp_path / "third").write_text("third\n")
    ours.run("key", "add", "--new-password-file", tmp_path / "second")
    restic = newest_restic
    restic.run(ours.repo, "key", "add", "--new-password-file", tmp_path / "third", password="second")
    for password in ("correct horse", "second", "third"):
        assert len(restic.json(ours.repo, "snapshots", password=password)) == 1
        (tmp_path / "password").write_text(password + "\n")
        ours.run("snapshots")
    (tmp_path / "fourth").write_text("fourth\n")
    ours.run("key", "passwd", "--new-password-file", tmp_path / "fourth")
    assert restic.run(ours.repo, "snapshots", password="third", check=False).returncode
    keys = restic.json(ours.repo, "key", "list", password="fourth")
    assert len(keys) == 3
    (tmp_path / "password").write_text("wrong\n")
    refused = ours.run("snapshots", check=False)
    assert refused.returncode == 12


def test_stock_lists_what_we_list(tmp_path: Path, newest_restic: Restic, awkward_parent: Path) -> None:
    ours = new_repository(tmp_path)
    ours.run("backup", "--tag", "one,two", "--host", "somewhere", "tree", cwd=awkward_parent)
    (mine,) = json.loads(ours.run("--json", "snapshots").stdout)
    (theirs,) = newest_restic.json(ours.repo, "snapshots")
    assert {name: mine[name] for name in theirs if name in mine} == {
        name: value for name, value in theirs.items() if name in mine
    }
    assert theirs.keys() <= mine.keys()


def test_a_folder_is_dumped_as_the_same_files(tmp_path: Path, newest_restic: Restic, awkward_parent: Path) -> None:
    ours = new_repository(tmp_path)
    ours.run("backup", "tree", cwd=awkward_parent)
    for name in ("sizes/several-chunks", "sizes/random-0", "links/first"):
        path = f"/tree/{name}"
        theirs = newest_restic.output(ours.repo, "dump", "latest", path)
        assert theirs.stdout == (awkward_parent / "tree" / name).read_bytes()

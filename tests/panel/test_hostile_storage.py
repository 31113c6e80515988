"""A customer's own storage, whose repository its owner makes as hostile as he can: he has its key.

Everything goes through the panel's doors: a check finds the snapshots, readers show them, workers restore them.
"""

from __future__ import annotations

import json
import os
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from backups import gateway
from backups.engine.blob import BlobType
from backups.engine.index_file import encode_index
from backups.engine.layout import INDEX
from backups.engine.names import name_json
from backups.engine.pack import parse_header
from backups.engine.repository import Repository as Opened
from backups.engine.tree import encode_dir_node, encode_file_node, encode_special_node, encode_tree, go_mode, owner_json
from backups.keys import schedule_place
from backups.models import Repository, Snapshot
from backups.services.schedules import schedule_run
from backups.services.upkeep import integrity_request
from destinations.storage.local import LocalStore
from panel.core.sealing import MasterKey
from restores import placing
from restores.models import Download
from restores.services import download_request
from tests.engine.repositories import TIME, Writer
from tests.panel.restoring import Site, site  # noqa: F401 - site is a fixture
from worker.asking import Refused
from worker.models import Job

pytestmark = pytest.mark.django_db
OWNER = owner_json(0, 0, "root", "root")
ENDS_WITHIN = 60.0
"""Seconds, on a machine that does other things too."""


class Hostile:
    """The owner of a repository, who writes into it whatever he likes."""

    def __init__(self, site: Site) -> None:  # noqa: F811
        self.site = site
        site.back_up()
        self.row = Repository.objects.get()
        assert self.row.account == site.account
        self.folder = Path(self.row.destination.config["path"]) / self.row.path
        key = MasterKey.read(settings.MASTER_KEY_FILE)
        site.schedule.refresh_from_db()
        password = key.open(schedule_place(site.schedule.pk), site.schedule.sealed_key)
        self.repository = Opened.open(LocalStore(self.folder), password)
        self.repository.load_index()
        self.writer = Writer(self.repository, pack_blobs=10**6)

    def tree(self, *nodes: bytes) -> str:
        """Store a tree of these nodes."""
        return self.writer.blob(BlobType.TREE, encode_tree(nodes)).hex()

    def file(self, name: bytes, mode: int = 0o104777) -> bytes:
        content = [self.writer.blob(BlobType.DATA, b"evil").hex()]
        return encode_file_node(name_json(name), go_mode(mode), TIME, TIME, OWNER, 1, 1, 4, 1, content)

    def at_home(self, tree: str) -> str:
        """Return a root in which a tree stands as the account's home."""
        for name in reversed(self.site.top.split("/")):
            tree = self.tree(folder(name.encode(), tree))
        return tree

    def snapshot(self, root: str, **fields: Any) -> str:
        """Store a snapshot that seems to be alice's own backup; return its id."""
        self.writer.flush()
        tags = [f"account:{self.site.account.uid}", f"schedule:{self.site.schedule.pk}", "kind:manual", "scope:web"]
        stored = {"time": TIME, "tree": root, "paths": ["/x"], "hostname": "h", "username": "u", "tags": tags} | fields
        return self.repository.save_object("snapshots", json.dumps(stored).encode())

    def checked(self) -> Job:
        """Let the panel check the repository: that makes rows of the snapshots that it did not know."""
        integrity_request(actor=self.site.people["root"])
        self.site.work()
        job = Job.objects.filter(kind="check").latest("pk")
        assert job.state not in ("pending", "running")
        return job

    def found(self, name: str) -> Snapshot:
        return Snapshot.objects.get(snapshot_id=name)

    def bomb(self, megabytes: int) -> str:
        """A tree of a few kilobytes in the storage that is as large as this."""
        node = self.file(b"x")
        return self.tree(*[node] * (megabytes * (1 << 20) // len(node)))


def folder(name: bytes, tree: str) -> bytes:
    return encode_dir_node(name_json(name), go_mode(0o40755), TIME, TIME, OWNER, 1, 1, tree)


def everything_outside(site: Site, tmp_path: Path) -> dict[str, bytes]:  # noqa: F811
    """All files that are not the account's, the storage's or the panel's own."""
    ours = [site.home, tmp_path / "backups", *(tmp_path / name for name in ("cache_dir", "workspace_dir"))]
    files = (path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink())
    kept = (path for path in files if not any(path.is_relative_to(one) for one in ours))
    return {str(path): path.read_bytes() for path in kept if "downloads_dir" not in str(path)}


@pytest.fixture
def hostile(site: Site) -> Hostile:  # noqa: F811
    return Hostile(site)


def restored(hostile: Hostile, name: str, **options: Any) -> Job:
    began = time.monotonic()
    restore = hostile.site.restore(hostile.found(name), "", safety=False, overwrite="always", **options)
    assert time.monotonic() - began < ENDS_WITHIN
    return restore.job


def packed(hostile: Hostile, name: str) -> Job:
    """Build a download of a whole snapshot."""
    where = hostile.site
    (made,) = download_request([where.part(hostile.found(name), "")], "tar.gz", actor=where.people["alice"])
    where.work()
    return Download.objects.get(pk=made.pk).job


@pytest.mark.parametrize("actor", ["alice", pytest.param("root", marks=pytest.mark.soak)])
def test_names_and_links_that_lead_elsewhere_write_nothing_outside(
    hostile: Hostile,
    tmp_path: Path,
    actor: str,
) -> None:
    where = hostile.site
    outside = tmp_path / "victim"
    outside.mkdir()
    (outside / "evil").write_bytes(b"of root")
    inner = hostile.tree(hostile.file(b"evil"))
    link = encode_special_node(
        name_json(b"way"), "symlink", go_mode(0o120777), TIME, TIME, OWNER, 1, 1, 1, os.fsencode(outside)
    )
    bad = [hostile.file(name) for name in (b"..", b"../up", b"/absolute", b"a/b", b".", b"", b"zero\0byte")]
    root = hostile.tree(*bad, folder(b"../../victim", inner), folder(b"..", inner), link, folder(b"way", inner),
                        hostile.file(b"harmless"))  # fmt: skip
    name = hostile.snapshot(hostile.at_home(root))
    assert hostile.checked().error_code == "HF-REPOSITORY-DAMAGED"
    Snapshot.objects.update(damaged_at=None)
    before = everything_outside(where, tmp_path)
    job = restored(hostile, name, actor=actor)
    assert (job.state, job.error_code) == ("warning", "HF-TARGET")
    assert everything_outside(where, tmp_path) == before
    assert (where.home / "harmless").read_bytes() == b"evil"
    assert not (where.home / "harmless").stat().st_mode & 0o6000
    assert packed(hostile, name).state == "warning"
    with pytest.raises(Refused):
        where.ask("list", user=where.people["alice"], snapshot=hostile.found(name).pk, path=where.top)


def test_folders_that_seem_to_be_without_end_are_refused(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty levels of ten names for the same folder: a few kilobytes, and more folders than there are atoms."""
    monkeypatch.setattr(placing, "MOST_ITEMS", 20_000)
    where, tree = hostile.site, hostile.tree(hostile.file(b"x"))
    for _ in range(40):
        tree = hostile.tree(*[folder(b"%d" % number, tree) for number in range(10)])
    name = hostile.snapshot(hostile.at_home(tree))
    began = time.monotonic()
    assert hostile.checked().state == "success"
    assert time.monotonic() - began < ENDS_WITHIN
    job = restored(hostile, name)
    assert (job.state, job.error_code) == ("failed", "HF-TOO-MANY")
    assert not (where.home / "0").exists()
    assert packed(hostile, name).error_code == "HF-TOO-MANY"
    alice, row = where.people["alice"], hostile.found(name)
    assert where.ask("list", user=alice, snapshot=row.pk, path=where.top)["total"] == 10
    found = where.ask("search", user=alice, snapshot=row.pk, path="", text="x", count=5)
    assert (len(found["entries"]), found["cut"]) == (5, True)


@pytest.mark.soak
def test_a_bomb_takes_no_more_memory_than_a_customer_may(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    where = hostile.site
    good = Snapshot.objects.get()
    root = hostile.at_home(hostile.bomb(60))
    name = hostile.snapshot(root)
    monkeypatch.setattr(gateway, "_CUSTOMERS_MEMORY", 160 << 20)
    assert hostile.checked().error_code == "HF-MEMORY"
    row = Snapshot.objects.get(pk=good.pk)
    row.pk, row.snapshot_id, row.tree = None, name, root
    row.save()
    with pytest.raises(Refused) as refused:
        where.ask("list", user=where.people["alice"], snapshot=row.pk, path=where.top)
    assert refused.value.code == "HF-MEMORY", str(refused.value)
    assert restored(hostile, name).error_code in ("HF-MEMORY", "HF-TARGET")
    assert packed(hostile, name).error_code in ("HF-MEMORY", "HF-TARGET")
    (where.home / "notes.txt").write_text("broken")
    assert where.restore(good, "notes.txt", safety=False).job.state == "success"
    assert (where.home / "notes.txt").read_bytes() == b"first\n"


@pytest.mark.soak
def test_a_folder_that_says_to_hold_itself_is_damage(hostile: Hostile) -> None:
    """Its id cannot be its hash; the index says all the same that it is there."""
    mine = "ab" * 32
    name = hostile.snapshot(hostile.at_home(mine))
    tree = hostile.writer.blob(BlobType.TREE, encode_tree([folder(b"again", mine)]))
    hostile.writer.finish_pack(BlobType.TREE)
    ((pack, header),) = hostile.writer._packs
    lie = bytes(header).replace(tree, bytes.fromhex(mine))
    hostile.repository.save_object(INDEX, encode_index([(pack, parse_header(lie))]))
    assert hostile.checked().error_code == "HF-REPOSITORY-DAMAGED"
    Snapshot.objects.update(damaged_at=None)
    job = restored(hostile, name)
    assert job.state in ("warning", "failed")
    assert job.error_code.startswith("HF-")


def lying_index(hostile: Hostile, **change: Any) -> None:
    """Replace the index of all packs with one that lies about each blob."""
    for path in list((hostile.folder / "index").iterdir()):
        stored = json.loads(hostile.repository.load_object(INDEX, path.name))
        for pack in stored["packs"]:
            for blob in pack["blobs"]:
                blob.update(change)
        path.unlink()
        hostile.repository.save_object(INDEX, json.dumps(stored).encode())


LIES = ({"offset": 1 << 31}, {"length": (1 << 31) - 1}, {"offset": -5}, {"offset": 1 << 70}, {"length": 0})


@pytest.mark.parametrize(
    "change",
    [{"uncompressed_length": (1 << 32) - 1}, *(pytest.param(lie, marks=pytest.mark.soak) for lie in LIES)],
    ids=str,
)
def test_an_index_that_lies_is_refused_everywhere(hostile: Hostile, change: dict[str, int]) -> None:
    where, row = hostile.site, Snapshot.objects.get()
    lying_index(hostile, **change)
    began = time.monotonic()
    with pytest.raises(Refused):
        where.ask("list", user=where.people["alice"], snapshot=row.pk, path=where.top)
    job = restored(hostile, row.snapshot_id)
    assert job.state in ("failed", "warning")
    assert job.error_code.startswith("HF-")
    assert packed(hostile, row.snapshot_id).state in ("failed", "warning")
    assert hostile.checked().state == "failed"
    assert time.monotonic() - began < ENDS_WITHIN
    assert (where.home / "notes.txt").read_bytes() == b"first\n"


@pytest.mark.soak
def test_a_pack_whose_header_claims_a_billion_entries_is_damage(hostile: Hostile) -> None:
    for path in (hostile.folder / "data").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            path.chmod(0o600)
            path.write_bytes(data[:-4] + (41 * 100_000_000).to_bytes(4, "little"))
    began = time.monotonic()
    assert hostile.checked().error_code == "HF-REPOSITORY-DAMAGED"
    assert time.monotonic() - began < ENDS_WITHIN


def test_a_repository_that_becomes_another_one_is_not_touched(hostile: Hostile) -> None:
    where, row = hostile.site, Snapshot.objects.get()
    place, key = hostile.folder / "config", hostile.repository.key
    config = json.loads(key.open(place.read_bytes())) | {"id": sha256(b"another").hexdigest()}
    place.chmod(0o600)
    place.write_bytes(key.seal(json.dumps(config).encode()))
    before = {path: path.stat().st_mtime_ns for path in hostile.folder.rglob("*") if path.is_file()}
    job = schedule_run(where.schedule, trigger="manual")
    where.work()
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "HF-REPO-MISSING")
    assert restored(hostile, row.snapshot_id).error_code == "HF-REPO-MISSING"
    with pytest.raises(Refused):
        where.ask("list", user=where.people["alice"], snapshot=row.pk, path=where.top)
    assert {path: path.stat().st_mtime_ns for path in hostile.folder.rglob("*") if path.is_file()} == before


@pytest.mark.soak
def test_very_many_snapshots_cost_little_and_none_becomes_somebody_elses(hostile: Hostile) -> None:
    where, root = hostile.site, Snapshot.objects.get().tree
    mallory = where.people["mallory_account"]
    for number in range(600):
        hostile.snapshot(root, time=f"2024-01-02T03:04:05.{number:06d}Z")
    hostile.snapshot(root, tags=[f"account:{mallory.uid}", "kind:manual", "scope:web"])
    began = time.monotonic()
    assert hostile.checked().state == "success"
    assert time.monotonic() - began < ENDS_WITHIN
    assert 400 < Snapshot.objects.count() <= 601
    assert set(Snapshot.objects.values_list("account", flat=True)) == {where.account.pk}
    assert where.restore(Snapshot.objects.latest("pk"), "notes.txt", safety=False).job.state == "success"

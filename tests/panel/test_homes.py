"""Homes that others could swap while we work as root, and homes that seem to be there and are not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from backups.engine.errors import NothingToSave
from backups.homes import CODE, HomeNow, why_hollow
from backups.models import Snapshot
from backups.services.schedules import schedule_run
from backups.session.homes import real_home
from tests.panel.restoring import Site, site, write  # noqa: F401 - site is a fixture
from worker.models import Job

ALICE, BOB = 60123, 60124
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to somebody else")


def lead(path: Path, *owners: int) -> Path:
    """Where a home leads."""
    return Path(os.fsdecode(real_home(os.fsencode(path), owners))).resolve()


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    """Bob's home inside a folder of alice's home."""
    inner = tmp_path / "alice" / "sites" / "bob"
    write(inner, {"notes.txt": b"of bob"})
    for path in (tmp_path / "alice", tmp_path / "alice" / "sites"):
        os.chown(path, ALICE, ALICE)
    for path in (inner, inner / "notes.txt"):
        os.chown(path, BOB, BOB)
    return inner


@needs_root
def test_a_home_inside_another_accounts_home_is_found(nested: Path) -> None:
    assert lead(nested) == nested
    assert lead(nested, BOB, 0) == nested


@needs_root
@pytest.mark.parametrize("depth", [0, 1])
def test_no_link_above_a_home_is_followed_that_another_account_made(nested: Path, tmp_path: Path, depth: int) -> None:
    write(tmp_path / "secrets" / "bob", {"notes.txt": b"of root"})
    swapped = nested if depth == 0 else nested.parent
    swapped.rename(tmp_path / "away")
    swapped.symlink_to(tmp_path / "secrets" / ("bob" if depth == 0 else ""))
    for owner in (ALICE, 0):
        # A link of root's in a folder of alice's is hers to put there: she may rename what she finds.
        os.chown(swapped, owner, owner, follow_symlinks=False)
        with pytest.raises(NothingToSave, match="behind a link"):
            real_home(os.fsencode(nested), (BOB, 0))


@needs_root
def test_another_folder_in_the_place_of_a_nested_home_is_not_taken_for_it(nested: Path, tmp_path: Path) -> None:
    nested.rename(tmp_path / "away")
    write(nested, {"notes.txt": b"of alice"})
    os.chown(nested, ALICE, ALICE)
    with pytest.raises(NothingToSave, match="another account"):
        real_home(os.fsencode(nested), (BOB, 0))


@needs_root
def test_what_was_found_stays_found_when_its_name_leads_elsewhere(nested: Path, tmp_path: Path) -> None:
    held = real_home(os.fsencode(nested), (BOB, 0))
    write(tmp_path / "elsewhere" / "bob", {"notes.txt": b"of root"})
    nested.parent.rename(tmp_path / "away")
    nested.parent.symlink_to(tmp_path / "elsewhere")
    assert Path(os.fsdecode(held), "notes.txt").read_bytes() == b"of bob"


@needs_root
def test_links_of_the_administrator_are_followed_wherever_they_stand(tmp_path: Path) -> None:
    write(tmp_path / "disk" / "homes" / "bob", {"notes.txt": b"of bob"})
    (tmp_path / "home").symlink_to("disk/homes")
    (tmp_path / "disk" / "homes" / "bill").symlink_to(tmp_path / "home" / "bob")
    assert lead(tmp_path / "home" / "bill") == tmp_path / "disk" / "homes" / "bob"
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(NothingToSave, match="circle"):
        real_home(os.fsencode(tmp_path / "one" / "bob"))


@pytest.mark.django_db
@needs_root
def test_alice_gets_nothing_of_root_by_swapping_a_folder_above_bobs_home(site: Site, tmp_path: Path) -> None:  # noqa: F811
    account = site.account
    inner = site.home / "sites" / "bob"
    write(inner, {"notes.txt": b"of bob"})
    for path in (site.home, site.home / "sites"):
        os.chown(path, ALICE, ALICE)
    os.chown(inner, BOB, BOB)
    account.home, account.system_uid, account.system_gid = str(inner), BOB, BOB
    account.save()
    snapshot = site.back_up()
    secrets = tmp_path / "secrets"
    write(secrets / "bob", {"notes.txt": b"of root", "key": b"secret"})
    (site.home / "sites").rename(tmp_path / "away")
    (site.home / "sites").symlink_to(secrets)
    os.chown(site.home / "sites", ALICE, ALICE, follow_symlinks=False)
    job = schedule_run(site.schedule, trigger="manual")
    site.work()
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "HF-SOURCE-EMPTY")
    assert list(Snapshot.objects.all()) == [snapshot]
    for actor in ("alice", "root"):
        site.home = inner
        assert site.restore(snapshot, "notes.txt", actor=actor, safety=False, overwrite="always").job.state == "failed"
    assert (secrets / "bob" / "notes.txt").read_bytes() == b"of root"


# ---------------------------------------------------------------- homes without their disk


def ran(site: Site) -> Job:  # noqa: F811
    """A run of the schedule as it ended, however."""
    job = schedule_run(site.schedule, trigger="manual")
    site.work()
    job.refresh_from_db()
    return job


@pytest.mark.django_db
def test_a_home_that_became_empty_is_told_and_pushes_no_good_snapshot_out(site: Site) -> None:  # noqa: F811
    site.schedule.retention = {"last": 1}
    site.schedule.save()
    good = site.back_up()
    disk = site.home.with_name("disk")
    site.home.rename(disk)
    (site.home / "lost+found").mkdir(parents=True)
    for _ in range(2):
        job = ran(site)
        assert (job.state, job.error_code) == ("warning", CODE)
        assert "before held 5 files" in job.error
        assert "mounted" in job.guidance
    good.refresh_from_db()
    assert good.marked_at is None
    hollow = Snapshot.objects.filter(is_hollow=True)
    assert (hollow.count(), hollow.filter(marked_at=None).count()) == (2, 2)
    (site.home / "lost+found").rmdir()
    site.home.rmdir()
    disk.rename(site.home)
    job = ran(site)
    assert (job.state, job.error_code) == ("success", "")
    item = job.items.get()
    assert item.result["files_unmodified"] == 4, "the good one was compared with"
    good.refresh_from_db()
    assert good.marked_at is not None
    assert hollow.filter(marked_at=None).count() == 0


@pytest.mark.django_db
def test_a_home_that_never_held_anything_is_backed_up_without_a_word(site: Site) -> None:  # noqa: F811
    for path in sorted(site.home.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert [ran(site).state for _ in range(2)] == ["success", "success"]
    write(site.home, {"first.txt": b"x"})
    assert ran(site).state == "success"


@pytest.mark.django_db
@needs_root
def test_a_disk_that_is_not_mounted_is_noticed_though_its_folder_is_not_empty(site: Site) -> None:  # noqa: F811
    (site.home / "of-the-folder-below.txt").write_text("not empty")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", site.home], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        write(site.home, {f"file-{number}.txt": b"x" for number in range(8)})
        good = site.back_up()
    finally:
        subprocess.run(["umount", "-l", site.home], check=True)
    assert good.mount == str(site.home)
    for path in (site.home / "public_html", site.home / "logs"):
        path.rename(site.home.parent / path.name)
    job = ran(site)
    assert (job.state, job.error_code) == ("warning", CODE)
    assert f"mounted at {site.home}" in job.error


def test_files_that_go_and_homes_that_move_are_no_warning_by_themselves() -> None:
    parent = Snapshot(files=100, components=["web"], mount="/home")
    assert why_hollow(HomeNow(False, "/home"), 2, parent) == ""
    assert why_hollow(HomeNow(False, "/"), 60, parent) == ""
    assert why_hollow(HomeNow(True, "/"), 2, None) == ""
    assert why_hollow(HomeNow(False, "/"), 2, parent)
    assert why_hollow(HomeNow(True, "/home"), 1, parent)

"""Homes that others could swap while we work as root, and homes that seem to be there and are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backups.engine.errors import NothingToSave
from backups.models import Snapshot
from backups.services.schedules import schedule_run
from backups.session.homes import real_home
from tests.panel.restoring import Site, site, write  # noqa: F401 - site is a fixture

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

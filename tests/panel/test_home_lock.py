"""The lock on a home while files come back into it (RST-13): it is there, it lets the restore through, it goes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from panel.accounts.models import Account
from panel.options.models import Option
from restores import locking
from restores.locking import StaysOpen, home_lock, home_unlock
from restores.models import HomeLock
from restores.work import RestorePlan
from tests.panel.restoring import Site, ended, site, write  # noqa: F401 - site is a fixture
from worker.models import Attempt, JobItem

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root restores into a home that nobody may enter"),
]
ALICE = 60123


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.fixture
def alice(site: Site) -> Site:  # noqa: F811
    """The account with a user of its own, whose home and files are that user's."""
    account = site.account
    account.system_uid = account.system_gid = ALICE
    account.save()
    for path in (site.home, *site.home.rglob("*")):
        os.chown(path, ALICE, ALICE)
    site.home.chmod(0o711)
    return site


@pytest.fixture
def seen(alice: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The permissions of the home while each command of a restore is at work."""
    found: list[int] = []
    ended_before = RestorePlan.ended

    def ended_now(plan: RestorePlan, running: object, status: int) -> object:
        found.append(mode(alice.home))
        return ended_before(plan, running, status)  # type: ignore[arg-type]

    monkeypatch.setattr(RestorePlan, "ended", ended_now)
    yield found


def spoil(site: Site) -> None:  # noqa: F811
    """Change what can be changed: files, folders, links, other names, and things that are new."""
    home = site.home
    (home / "notes.txt").write_text("broken")
    (home / "public_html" / "index.html").unlink()
    (home / "link").unlink(missing_ok=True)
    (home / "other-name.txt").unlink()
    (home / "logs").rename(home / "logs-of-before")
    (home / "logs").write_text("a file in the place of a folder")
    (home / "new").mkdir()
    (home / "new" / "file.txt").write_text("new")
    for path in home.rglob("*"):
        os.chown(path, ALICE, ALICE, follow_symlinks=False)


@pytest.mark.parametrize("actor", ["alice", "root"])
def test_the_home_is_closed_while_files_come_back_and_open_after(alice: Site, seen: list[int], actor: str) -> None:
    home = alice.home
    (home / "link").symlink_to("notes.txt")
    (home / "other-name.txt").hardlink_to(home / "notes.txt")
    (home / "large.bin").write_bytes(os.urandom(3_000_000))
    for path in home.rglob("*"):
        os.chown(path, ALICE, ALICE, follow_symlinks=False)
    snapshot = alice.back_up()
    before = alice.state()
    spoil(alice)
    restore = alice.restore(snapshot, "", actor=actor, overwrite="always", mirror=True)
    ended(restore.job)
    assert alice.state() == before
    assert seen == [0o711, 0]
    assert mode(home) == 0o711
    assert not HomeLock.objects.exists()
    texts = list(restore.job.log.values_list("text", flat=True))
    assert "the home is locked until the restore has ended" in texts


def test_with_the_setting_off_the_home_stays_open(alice: Site, seen: list[int]) -> None:
    Option.objects.create(key="lock_home", value=False)
    snapshot = alice.back_up()
    ended(alice.restore(snapshot, "notes.txt").job)
    assert seen == [0o711, 0o711]


def test_what_goes_into_another_folder_locks_nothing(alice: Site, seen: list[int]) -> None:
    snapshot = alice.back_up()
    ended(alice.restore(snapshot, "notes.txt", target="folder", folder="back").job)
    assert seen == [0o711]


def test_a_lock_gives_a_customer_no_right_over_what_is_not_his(alice: Site, seen: list[int]) -> None:
    """Folders of root's in the home, which panels keep there, are as closed to a restore as without the lock."""
    write(alice.home, {"conf/nginx.conf": b"of root"})
    for path in (alice.home / "conf", alice.home / "conf" / "nginx.conf"):
        os.chown(path, 0, 0)
    snapshot = alice.back_up()
    (alice.home / "conf" / "nginx.conf").write_text("newer, of root")
    (alice.home / "notes.txt").write_text("broken")
    restore = alice.restore(snapshot, "", overwrite="always", mirror=True)
    assert restore.job.state == "warning"
    assert seen[-1] == 0
    assert (alice.home / "conf" / "nginx.conf").read_text() == "newer, of root"
    assert (alice.home / "notes.txt").read_bytes() == b"first\n"


def test_a_home_of_roots_is_not_opened_for_a_customer(alice: Site, seen: list[int]) -> None:
    snapshot = alice.back_up()
    (alice.home / "notes.txt").unlink()
    os.chown(alice.home, 0, 0)
    assert alice.restore(snapshot, "notes.txt", safety=False).job.state == "warning"
    assert seen == [0o711]
    os.chown(alice.home, ALICE, ALICE)
    alice.home.chmod(0o511)
    assert alice.restore(snapshot, "notes.txt", safety=False).job.state == "warning"
    assert seen == [0o711, 0]
    assert mode(alice.home) == 0o511
    assert not (alice.home / "notes.txt").exists()


def test_a_backup_meanwhile_stores_the_homes_own_permissions(alice: Site) -> None:
    first = alice.back_up()
    item = JobItem.objects.latest("pk")
    assert home_lock(alice.account, item)
    Attempt.objects.filter(item=item).update(outcome=Attempt.Outcome.RUNNING)
    assert mode(alice.home) == 0
    second = alice.back_up()
    Attempt.objects.filter(item=item).update(outcome=Attempt.Outcome.LOST)
    assert home_unlock(alice.account)
    assert first.tree != ""
    found = [
        alice.ask("list", user=alice.people["root"], snapshot=each.pk, path=alice.top.rpartition("/")[0])["entries"]
        for each in (first, second)
    ]
    assert [entry["mode"] for entries in found for entry in entries if entry["name"] == "alice"] == ["0711", "0711"]


def test_permissions_that_the_home_got_meanwhile_stay(alice: Site) -> None:
    alice.back_up()
    home_lock(alice.account, JobItem.objects.latest("pk"))
    alice.home.chmod(0o750)
    assert home_unlock(alice.account)
    assert mode(alice.home) == 0o750
    assert not HomeLock.objects.exists()


def test_another_folder_in_the_homes_place_gets_nothing(alice: Site) -> None:
    alice.back_up()
    home_lock(alice.account, JobItem.objects.latest("pk"))
    alice.home.rename(alice.home.with_name("away"))
    assert not home_unlock(alice.account)
    assert HomeLock.objects.exists()
    alice.home.mkdir(mode=0o700)
    alice.home.chmod(0)
    os.chown(alice.home, ALICE, ALICE)
    home_unlock(alice.account)
    assert mode(alice.home) == 0


@pytest.mark.parametrize("why", ["nested", "shared", "no user", "not his", "no root", "the panel"])
def test_homes_that_others_need_are_not_locked(alice: Site, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alice.back_up()
    account, item = alice.account, JobItem.objects.latest("pk")
    if why in ("nested", "shared"):
        other = alice.people["mallory_account"]
        Account.objects.filter(pk=other.pk).update(home=account.home + ("/sub" if why == "nested" else ""))
    elif why == "no user":
        account.system_uid = None
    elif why == "not his":
        os.chown(alice.home, 0, 0)
    elif why == "no root":
        monkeypatch.setattr(locking.os, "geteuid", lambda: 1000)
    else:
        monkeypatch.setattr(locking.settings, "DATA_DIR", alice.home / "panel")
    with pytest.raises(StaysOpen, match=r".+"):
        home_lock(account, item)
    monkeypatch.undo()
    assert mode(alice.home) == 0o711
    assert not HomeLock.objects.exists()

"""Restores at the edges of what is usual: very long paths, archives on another disk, packages, locked homes."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from backups.models import Repository, Snapshot
from backups.services.schedules import ScheduleData, schedule_create
from panel.accounts.models import Account, Package, User
from panel.audit.models import AuditEvent
from panel.core.errors import Invalid
from restores import handing
from restores.choosing import MOST_LETTERS, Part, cleaned
from restores.models import Download, Restore
from restores.services import RestoreRequest, download_request, restore_request, restore_undo
from tests.panel.restoring import Site, downloads, ended, signed_in, site  # noqa: F401 - site is a fixture
from worker.finish import job_cancel

pytestmark = pytest.mark.django_db

DEEP = [f"{number:03d}-{'long' * 60}" for number in range(40)]
"""Folders below one another: with them a path has more letters than any program takes at one time."""


def deepest(home: Path) -> int:
    """A descriptor of the deepest folder, which is made if it is not there."""
    here = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    for name in DEEP:
        if name not in os.listdir(here):
            os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    return here


def content(folder: int, name: str) -> bytes:
    """What a file of an open folder holds."""
    with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
        return file.read()


def test_a_single_file_comes_back_whose_path_is_longer_than_programs_take(site: Site) -> None:  # noqa: F811
    folder = deepest(site.home)
    for name in ("one.txt", "two.txt"):
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=folder), "wb") as file:
            file.write(b"as it was")
    snapshot = site.back_up()
    for name in ("one.txt", "two.txt"):
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_TRUNC, dir_fd=folder), "wb") as file:
            file.write(b"broken")
    path = "/".join([site.top, *DEEP, "one.txt"])
    assert len(path) > 9000
    with signed_in(site.people, "alice") as browser:
        page = f"/snapshots/{snapshot.pk}/restore/"
        plan = browser.get(page, {"path": path, "target": "in_place", "overwrite": "always", "part": "plan"})
        assert {row.action: row.count for row in plan.context["plan"].rows if row.count} == {"replace": 1}
        form = {"path": path, "target": "in_place", "overwrite": "always", "safety": "on", "token": "t1"}
        assert browser.post(page, form).status_code == 302
        assert (
            browser.post(page, {"path": path, "target": "download", "format": "zip", "token": "t2"}).status_code == 302
        )
    site.work()
    assert (content(folder, "one.txt"), content(folder, "two.txt")) == (b"as it was", b"broken")
    os.close(folder)
    download = Download.objects.get()
    ended(download.job)
    with zipfile.ZipFile(site.downloads / download.file) as archive:
        (name,) = [name for name in archive.namelist() if not name.endswith("/")]
        assert archive.read(name) == b"as it was"


def test_the_paths_of_a_request_have_an_end() -> None:
    with pytest.raises(Invalid, match="too long together"):
        cleaned([f"web/{number}/{'x/' * 400_000}y" for number in range(MOST_LETTERS // 800_000 + 1)])


# ---------------------------------------------------------------- archives on another disk


@pytest.fixture
def other_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads that lie on another disk than the workspace, copied a little at a time."""
    monkeypatch.setattr(handing, "_renamed", lambda *_: False)
    monkeypatch.setattr(handing, "_CHUNK", 1 << 10)


def archive(site: Site) -> Download:  # noqa: F811
    """A download of the whole home, which is not built yet."""
    (site.home / "large.bin").write_bytes(os.urandom(200_000))
    (made,) = download_request([site.part(site.back_up(), "")], "zip", actor=site.people["alice"])
    return made


def test_an_archive_is_handed_out_to_another_disk_with_signs_of_life(
    site: Site,  # noqa: F811
    other_disk: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, ticks, figures = archive(site), [], []
    tick = handing.ItemContext.tick

    def counted(context: handing.ItemContext) -> bool:
        ticks.append(1)
        figures.append(context.figures.bytes_done)
        return tick(context)

    monkeypatch.setattr(handing.ItemContext, "tick", counted)
    site.work()
    made.refresh_from_db()
    ended(made.job)
    assert made.size is not None
    assert len(ticks) > made.size // handing._CHUNK > 100
    assert max(figures) == made.size
    with zipfile.ZipFile(site.downloads / made.file) as found:
        assert found.testzip() is None
    assert os.stat(site.downloads / made.file).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("why", ["canceled", pytest.param("lost", marks=pytest.mark.soak), "full"])
def test_an_archive_that_does_not_get_whole_to_another_disk_is_nowhere(
    site: Site,  # noqa: F811
    other_disk: None,
    monkeypatch: pytest.MonkeyPatch,
    why: str,
) -> None:
    made = archive(site)

    def stopped(_: object) -> bool:
        assert len(list(site.downloads.iterdir())) == 1
        job_cancel(made.job, by="alice")
        return True

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if why == "canceled":
        monkeypatch.setattr(handing, "_looks_at", stopped)
    elif why == "lost":
        monkeypatch.setattr(handing.ItemContext, "tick", lambda context: context.figures.current != handing.MOVING)
    else:
        monkeypatch.setattr(handing, "_pump", full)
    site.work()
    made.refresh_from_db()
    assert made.file == ""
    code = {"canceled": "HF-CANCELED", "lost": "HF-CANCELED", "full": "HF-NO-ROOM"}[why]
    assert made.job.error_code == code
    assert list(site.downloads.iterdir()) == []
    assert [one.ready_at for one in downloads()] == [None]


# ---------------------------------------------------------------- the package after a restore of everything


@pytest.fixture
def full(site: Site) -> Site:  # noqa: F811
    """The account in a server-wide schedule of everything, with the package Gold at the time of the backup."""
    site.account.package = Package.objects.create(name="Gold", custom_storage=True)
    site.account.save()
    values = {"name": "All", "scope": "full", "frequency": "daily", "hour": 3, "retention": {"last": 5}}
    server, destination = site.people["server"], site.people["destination"]
    Account.objects.filter(pk=site.people["mallory_account"].pk).update(status="suspended")
    site.schedule = schedule_create(ScheduleData(server, None, [destination], values), actor=site.people["root"])
    return site


def after_backup(site: Site) -> Snapshot:  # noqa: F811
    """Back up, then give the account another package and spoil a file."""
    snapshot = site.back_up()
    assert snapshot.scope == "full"
    site.account.package = Package.objects.get(name="Standard")
    site.account.save()
    (site.home / "notes.txt").write_text("broken")
    (site.home / "public_html" / "index.html").unlink()
    return snapshot


def posted(site: Site, name: str, snapshot: Snapshot, **fields: str) -> Any:  # noqa: F811
    """Send the form of a restore in place, with everything chosen."""
    form = {"component": "everything", "target": "in_place", "overwrite": "always", "safety": "on", "token": "t"}
    with signed_in(site.people, name) as browser:
        answer = browser.post(f"/snapshots/{snapshot.pk}/restore/", form | fields)
    site.work()
    site.account.refresh_from_db()
    return answer


def test_an_account_keeps_its_live_package_unless_the_administrator_says_otherwise(full: Site) -> None:
    snapshot = after_backup(full)
    with signed_in(full.people, "root") as browser:
        page = browser.get(f"/snapshots/{snapshot.pk}/restore/").content.decode()
    assert '<option value="live">The one it has now: Standard</option>' in page
    assert posted(full, "root", snapshot).status_code == 302
    ended(Restore.objects.get().job)
    assert (full.home / "notes.txt").read_bytes() == b"first\n"
    assert full.account.package.name == "Standard"


def test_the_package_of_the_backup_comes_back_and_goes_with_the_undo(full: Site) -> None:
    snapshot = after_backup(full)
    assert posted(full, "root", snapshot, package="backup").status_code == 302
    restore = Restore.objects.get()
    assert ended(restore.job).state == "success"
    assert full.account.package.name == "Gold"
    texts = list(restore.job.log.values_list("text", flat=True))
    assert "the account has the package of the backup: Gold; it had Standard" in texts
    (change,) = AuditEvent.objects.filter(action="account.changed")
    assert (change.actor_name, change.detail["package"]) == ("root", ["Standard", "Gold"])
    undo = restore_undo(restore, actor=full.people["root"])
    full.work()
    ended(undo.job)
    full.account.refresh_from_db()
    assert full.account.package.name == "Standard"
    assert (full.home / "notes.txt").read_text() == "broken"
    assert not (full.home / "public_html" / "index.html").exists()


def test_a_package_that_is_gone_is_a_warning_and_the_files_are_back(full: Site) -> None:
    snapshot = after_backup(full)
    Package.objects.filter(name="Gold").delete()
    posted(full, "root", snapshot, package="backup")
    job = Restore.objects.get().job
    assert (job.state, job.error_code) == ("warning", "HF-PACKAGE")
    assert "no package “Gold”" in job.error
    assert (full.home / "notes.txt").read_bytes() == b"first\n"
    assert full.account.package.name == "Standard"


def test_who_may_bring_no_package_back_is_told_so_and_nothing_runs(full: Site) -> None:
    snapshot = after_backup(full)
    with signed_in(full.people, "alice") as browser:
        assert 'name="package"' not in browser.get(f"/snapshots/{snapshot.pk}/restore/").content.decode()
    assert posted(full, "alice", snapshot, package="backup", component="web").status_code == 403
    assert posted(full, "root", snapshot, package="backup", component="web").status_code == 422
    assert posted(full, "root", snapshot, package="backup", target="folder").status_code == 422
    assert posted(full, "root", snapshot, package="gold").status_code == 422
    Repository.objects.update(account=full.account)
    assert posted(full, "root", snapshot, package="backup").status_code == 403
    with signed_in(full.people, "root") as browser:
        assert 'name="package"' not in browser.get(f"/snapshots/{snapshot.pk}/restore/").content.decode()
    assert not Restore.objects.exists()
    assert full.account.package.name == "Standard"


def test_a_worker_asks_again_who_may_bring_a_package_back(full: Site) -> None:
    snapshot = after_backup(full)
    wanted = RestoreRequest([Part(snapshot, (full.top, "config"))], package="backup", safety=False)
    (restore,) = restore_request(wanted, actor=full.people["root"])
    User.objects.filter(username="root").update(role="end_user")
    full.work()
    restore.refresh_from_db()
    full.account.refresh_from_db()
    assert restore.job.state == "failed"
    assert full.account.package.name == "Standard"

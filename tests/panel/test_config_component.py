"""The component `config`: files of nginx and PHP-FPM go out and come back, in a folder that stands for /etc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from backups import specs
from backups.models import Snapshot
from backups.services.schedules import ScheduleData, schedule_create, schedule_run
from panel.core.errors import NotAllowed
from restores import placing, safety
from restores.choosing import Part
from restores.services import RestoreRequest, download_request, restore_request, restore_undo
from tests.panel.restoring import Site, ended, signed_in, site  # noqa: F401 - site is a fixture

OWN = ("nginx/sites-available/alice.example", "nginx/conf.d/alice.conf", "php/8.2/fpm/pool.d/alice.conf")
OTHERS = ("nginx/conf.d/alice2.conf", "nginx/sites-available/alice.example.org", "php/8.2/fpm/pool.d/www.conf",
          "nginx/nginx.conf")  # fmt: skip
LINK = "nginx/sites-enabled/alice.example"


@pytest.fixture
def etc(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A folder with files of alice and of others, that backups and restores take for /etc."""
    top = tmp_path / "etc"
    for name in (*OWN, *OTHERS):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"# {name}\n")
    (top / OWN[2]).chmod(0o600)
    (top / LINK).parent.mkdir()
    (top / LINK).symlink_to("../sites-available/alice.example")
    monkeypatch.setattr(specs, "_CONFIG", tuple(path.replace("/etc", str(top), 1) for path in specs._CONFIG))
    monkeypatch.setattr(placing, "_CONFIG_WALL", str(top))
    monkeypatch.setattr(safety, "_SYSTEM", str(top))
    site.account.system_user, site.account.domain = "alice", "alice.example"
    site.account.save()
    return top


def backed_up(site: Site, account: Any) -> Snapshot:  # noqa: F811
    """A snapshot of alice's configuration, by a schedule of one account or of the entire server."""
    values = {"name": "Configuration", "scope": "config", "frequency": "daily", "hour": 3, "retention": {"last": 9}}
    data = ScheduleData(site.people["server"], account, [site.people["destination"]], values)
    job = schedule_run(schedule_create(data, actor=site.people["root"]), trigger="manual")
    site.work()
    job.refresh_from_db()
    return Snapshot.objects.get(job=job, account=site.account)


def found(top: Path) -> dict[str, str]:
    """Everything below a folder: contents, links and permissions."""
    return {
        str(path.relative_to(top)): os.readlink(path)
        if path.is_symlink()
        else f"{path.stat().st_mode & 0o7777:o} {path.stat().st_uid} {path.read_text()}"
        for path in sorted(top.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.django_db
@pytest.mark.skipif(os.geteuid() != 0, reason="configuration belongs to root")
@pytest.mark.parametrize("mirror", [False, True])
def test_configuration_goes_out_comes_back_in_place_and_the_restore_is_undone(
    site: Site,  # noqa: F811
    etc: Path,
    mirror: bool,
) -> None:
    snapshot = backed_up(site, None)
    with signed_in(site.people, "root") as browser:
        names = []
        for folder in ("nginx/sites-available", "nginx/conf.d", "nginx/sites-enabled", "php/8.2/fpm/pool.d"):
            page = browser.get(f"/snapshots/{snapshot.pk}/browse/", {"path": f"config{etc}/{folder}"})
            names += [f"{folder}/{entry['name']}" for entry in page.context["entries"]]
    assert sorted(names) == sorted((*OWN, LINK))
    as_it_was = found(etc)
    (etc / OWN[0]).write_text("broken")
    (etc / OWN[2]).unlink()
    (etc / LINK).unlink()
    (etc / OTHERS[0]).write_text("changed since")
    broken = found(etc)
    request = RestoreRequest([Part(snapshot, ("config",))], mirror=mirror)
    with pytest.raises(NotAllowed):
        restore_request(request, actor=site.people["alice"])
    (restore,) = restore_request(request, actor=site.people["root"])
    site.work()
    ended(restore.job)
    restore.refresh_from_db()
    assert found(etc) == as_it_was | {OTHERS[0]: broken[OTHERS[0]]}
    assert restore.safety is not None
    with signed_in(site.people, "alice") as browser:
        inside = browser.get(f"/snapshots/{restore.safety.pk}/browse/", {"path": "", "q": "."}).context["entries"]
    kept = {entry["name"] for entry in inside if entry["kind"] != "dir"}
    assert kept == {"account.json", "alice.example", "alice.conf"}
    undo = restore_undo(restore, actor=site.people["root"])
    site.work()
    ended(undo.job)
    assert found(etc) == broken


@pytest.mark.django_db
def test_a_customer_gets_his_configuration_into_a_folder_or_as_a_download(site: Site, etc: Path) -> None:  # noqa: F811
    snapshot = backed_up(site, site.account)
    request = RestoreRequest([Part(snapshot, ("config",))], target="folder", folder="from-backup")
    (restore,) = restore_request(request, actor=site.people["alice"])
    (download,) = download_request([Part(snapshot, ("config",))], "zip", actor=site.people["alice"])
    site.work()
    ended(restore.job)
    ended(download.job)
    copied = site.home / "from-backup" / "config" / etc.relative_to("/")
    assert sorted(path for path in found(copied)) == sorted((*OWN, LINK))
    for account in ("root", "alice"):
        with pytest.raises(NotAllowed):
            restore_request(RestoreRequest([Part(snapshot, ("config",))]), actor=site.people[account])

"""Runs to real servers: one result for each destination, traffic counted, a server that is gone, places that moved."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from backups.models import Repository, Schedule, Snapshot
from backups.services.schedules import ScheduleData, schedule_create, schedule_run
from destinations import selectors, services
from destinations.models import DayTraffic, Destination, JobTraffic
from destinations.services import DestinationData
from panel.accounts.models import Account
from panel.options.models import Option
from tests.contract.places import make_bucket, s3_config
from tests.servers import lend
from tests.servers.kinds import free_port
from worker.claim import claim_next
from worker.clock import now
from worker.models import Job, JobItem, JobLogLine
from worker.run import work_on
from worker.states import State

pytestmark = pytest.mark.django_db


@pytest.fixture
def site(people: dict[str, Any], keys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account with a few files, and folders for caches and work."""
    monkeypatch.setattr(settings, "CACHE_DIR", tmp_path / "cache")
    home = tmp_path / "home"
    (home / "public_html").mkdir(parents=True)
    (home / "public_html" / "index.html").write_text("<h1>Shop</h1>")
    (home / "public_html" / "photo.bin").write_bytes(bytes(range(256)) * 2000)
    account: Account = people["alice_account"]
    Account.objects.filter(pk=account.pk).update(home=str(home))
    account.refresh_from_db()
    return account


def destination(kind: str, people: dict[str, Any], folder: Path, **more: Any) -> Destination:
    """A destination of a kind, on a real server."""
    name = f"{folder.parent.name}-{folder.name}"[-60:]
    secrets: dict[str, str | None] = {}
    config: dict[str, Any]
    if kind == "local":
        config = {"path": str(folder / "store")}
    elif kind == "ftps":
        server = lend("pure-ftpd")
        config = {"host": server["host"], "port": server["port"], "user": server["user"], "tls": True, "path": name}
        config["pins"], secrets = [server["pin"]], {"password": server["password"]}
    elif kind == "sftp":
        server = lend("openssh")
        config = {"host": server["host"], "port": server["port"], "user": server["user"]}
        config |= {"path": f"{server['home']}/{name}", "host_keys": [server["fingerprint"]]}
        secrets = {"private_key": server["private_key"]}
    else:
        given = s3_config("ceph-rgw", folder)
        make_bucket(given)
        config = {"endpoint": given.endpoint, "bucket": given.bucket, "region": given.region, "prefix": "panel"}
        config["access_key"], secrets = given.access_key, {"secret_key": given.secret_key.reveal()}
    data = DestinationData("ftp" if kind == "ftps" else kind, f"The {kind}", config | more, secrets)
    return services.destination_save(data, actor=people["root"])


def schedule_for(people: dict[str, Any], account: Account | None, *places: Destination) -> Schedule:
    values = {"name": "Nightly", "scope": "web", "retention": {"last": 3}}
    return schedule_create(ScheduleData(people["server"], account, list(places), values), actor=people["root"])


def run(people: dict[str, Any], schedule: Schedule) -> Job:
    """Start a schedule and work until nothing waits."""
    job = schedule_run(schedule, actor=people["root"])
    while (claim := claim_next("w/1", people["server"].pk)) is not None:
        work_on(claim)
    job.refresh_from_db()
    return job


def log_of(job: Job) -> str:
    return "\n".join(JobLogLine.objects.filter(job=job).values_list("text", flat=True))


@pytest.mark.parametrize("kind", ["local", "ftps", "sftp", "s3"])
def test_a_schedule_runs_to_every_kind_and_its_traffic_is_counted(
    people: dict[str, Any], site: Account, tmp_path: Path, kind: str
) -> None:
    place = destination(kind, people, tmp_path)
    schedule = schedule_for(people, site, place)
    first = run(people, schedule)
    assert first.state == State.SUCCESS, log_of(first)
    assert Snapshot.objects.filter(schedule=schedule).count() == 1
    traffic = JobTraffic.objects.get(job=first, destination=place)
    assert traffic.sent > 1000
    assert traffic.requests > 5
    assert DayTraffic.objects.get(destination=place).sent == traffic.sent
    (site_page := Path(site.home) / "public_html" / "index.html").write_text("<h1>Shop, new</h1>")
    second = run(people, schedule)
    assert second.state == State.SUCCESS, log_of(second)
    assert JobTraffic.objects.get(job=second).sent < traffic.sent + 20_000
    assert site_page.exists()
    place.refresh_from_db()
    assert place.gone_since is None
    if kind in ("local", "sftp"):
        assert place.total_bytes


def test_one_destination_that_fails_does_not_stop_the_others_and_the_job_says_so(
    people: dict[str, Any], site: Account, tmp_path: Path
) -> None:
    gone = services.destination_save(
        DestinationData("ftp", "Gone", {"host": "127.0.0.1", "port": free_port(), "user": "u", "retries": 1}),
        actor=people["root"],
    )
    good = destination("local", people, tmp_path)
    other = Account.objects.get(pk=people["mallory_account"].pk)
    Account.objects.filter(pk=other.pk).update(home=site.home)
    Option.objects.create(key="slots_backup", value=1)
    job = run(people, schedule_for(people, None, gone, good))
    assert job.state == State.PARTIAL
    assert job.error.startswith("Gone: ")
    assert job.error_code == "HF-STORE-PORT"
    rows = {row["destination"].name: row for row in selectors.job_destinations(job)}
    assert (rows["Gone"]["state"], rows["Gone"]["good"], rows["Gone"]["failed"]) == (State.FAILED, 0, 2)
    assert (rows["The local"]["state"], rows["The local"]["good"]) == (State.SUCCESS, 2)
    assert rows["Gone"]["error"].guidance
    assert rows["The local"]["traffic"].sent > 0
    # The second account was not tried again at a server that is not there.
    texts = list(JobItem.objects.filter(job=job, state=State.FAILED).order_by("pk").values_list("error", flat=True))
    assert [text.startswith("Not tried: ") for text in texts] == [False, True]
    gone.refresh_from_db()
    assert now() - gone.gone_since < timedelta(minutes=2)


def test_a_disabled_destination_is_skipped_and_says_so(people: dict[str, Any], site: Account, tmp_path: Path) -> None:
    off = services.destination_save(
        DestinationData("local", "Off", {"path": str(tmp_path / "off")}), actor=people["root"]
    )
    good = destination("local", people, tmp_path)
    schedule = schedule_for(people, site, off, good)
    services.destination_toggle(off, actor=people["root"])
    job = run(people, schedule)
    assert job.state == State.SUCCESS
    skipped = JobItem.objects.get(job=job, state=State.SKIPPED)
    assert skipped.error == "Off is disabled: nothing was stored there."
    assert not (tmp_path / "off").exists()


def test_a_repository_that_is_not_there_any_more_is_not_quietly_begun_anew(
    people: dict[str, Any], site: Account, tmp_path: Path
) -> None:
    place = destination("local", people, tmp_path)
    schedule = schedule_for(people, site, place)
    assert run(people, schedule).state == State.SUCCESS
    shutil.rmtree(tmp_path / "store")
    job = run(people, schedule)
    assert (job.state, job.error_code) == (State.FAILED, "HF-REPO-MISSING")
    assert "right disk" in job.error
    assert not list((tmp_path / "store").glob("*/config"))


def test_a_read_only_destination_takes_no_backups_and_nothing_is_written_there(
    people: dict[str, Any], site: Account, tmp_path: Path
) -> None:
    place = destination("local", people, tmp_path)
    schedule = schedule_for(people, site, place)
    assert run(people, schedule).state == State.SUCCESS
    Destination.objects.filter(pk=place.pk).update(read_only=True)
    before = sorted(str(path) for path in (tmp_path / "store").rglob("*"))
    job = run(people, schedule)
    assert job.state == State.SKIPPED
    assert sorted(str(path) for path in (tmp_path / "store").rglob("*")) == before


def test_a_full_destination_stops_new_backups_with_its_own_code(
    people: dict[str, Any], site: Account, tmp_path: Path
) -> None:
    place = destination("local", people, tmp_path, disk_limit=1)
    job = run(people, schedule_for(people, site, place))
    assert (job.state, job.error_code) == (State.FAILED, "HF-STORE-DISKLIMIT")
    assert Repository.objects.get().snapshots.count() == 0

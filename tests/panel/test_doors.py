"""Every address, walked as everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from backups.models import Repository, Schedule, Snapshot
from panel.core.errors import Invalid
from restores.models import Download, Restore
from restores.services import checked_path
from worker.clock import now
from worker.enqueue import ItemRequest, JobRequest, job_enqueue
from worker.states import Kind

pytestmark = pytest.mark.django_db

OPEN = {"sign-in/", "health"}
ALL = {"", "sign-out/", "me/", "me/sessions/end/", "theme/", "tasks/active/", "backups/schedules/",
       "backups/schedules/new/", "backups/schedules/preview/", "backups/schedules/accounts/", "backups/schedules/run/", "backups/history/",
       "backups/restore/", "restore/", "restores/new/", "restores/basket/", "restores/basket/add/",
       "restores/basket/remove/", "downloads/"}  # fmt: skip
ADMIN = {"system/", "accounts/", "queue/", "backups/history/clear/", "destinations/", "destinations/new/",
         "destinations/<int:number>/", "destinations/<int:number>/test/", "destinations/s3/",
         "destinations/jobs/<int:number>/", "destinations/<int:number>/trust/", "destinations/<int:number>/toggle/",
         "destinations/<int:number>/remove/", "settings/", "settings/<slug:group>/",
         "audit/"}  # fmt: skip
OWNED = {
    "accounts/<int:number>/": "account", "backups/history/<int:number>/": "job",
    "backups/history/<int:number>/log/": "job",
    "backups/history/<int:number>/cancel/": "job", "backups/schedules/<int:number>/edit/": "schedule",
    "backups/schedules/<int:number>/run/": "schedule", "backups/schedules/<int:number>/toggle/": "schedule",
    "backups/schedules/<int:number>/delete/": "schedule", "backups/schedules/<int:number>/key/": "schedule",
    "backups/schedules/<int:number>/key/rotate/": "schedule", "backups/schedules/<int:number>/key/try/": "schedule",
    "backups/schedules/<int:number>/key/use/": "schedule", "backups/schedules/<int:number>/undo/": "schedule",
    "snapshots/<int:number>/browse/": "snapshot", "snapshots/<int:number>/restore/": "snapshot",
    "snapshots/<int:number>/versions/": "snapshot", "snapshots/<int:number>/preview/": "snapshot",
    "snapshots/<int:number>/picture/": "snapshot",
    "restores/<int:number>/undo/": "restore", "downloads/<int:number>/file/": "download",
    "downloads/<int:number>/remove/": "download",
}  # fmt: skip
POSTED = ("run/", "toggle/", "delete/", "cancel/", "clear/", "undo/", "test/", "trust/", "theme/", "sign-out/", "end/",
          "basket/add/", "remove/")


def addresses(patterns: Any = None, prefix: str = "") -> list[str]:
    found: list[str] = []
    for pattern in patterns if patterns is not None else get_resolver().url_patterns:
        if isinstance(pattern, URLResolver):
            found += addresses(pattern.url_patterns, prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            found.append(prefix + str(pattern.pattern))
    return found


@pytest.fixture
def things(people: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    account = people["alice_account"]
    schedule = Schedule.objects.create(name="S", server=people["server"], account=account, next_run_at=now())
    repository = Repository.objects.create(destination=people["destination"], path=account.uid, account=account)
    snapshot = Snapshot.objects.create(
        repository=repository, snapshot_id="a" * 64, tree="b" * 64, account=account, scope="web", taken_at=now()
    )
    items = [ItemRequest(account=account)]
    request = JobRequest(kind=Kind.RESTORE, name="n", server=people["server"], items=items, account=account)
    job = job_enqueue(request)
    restore = Restore.objects.create(job=job, account=account, snapshot=snapshot, target="in_place")
    monkeypatch.setattr(settings, "DOWNLOADS_DIR", tmp_path)
    (tmp_path / "a.zip").write_bytes(b"PK")
    taken = job_enqueue(JobRequest(kind=Kind.DOWNLOAD, name="d", server=people["server"], items=[], account=account))
    download = Download.objects.create(job=taken, account=account, snapshot=snapshot, name="a.zip", file="a.zip")
    return {
        "download": download.pk,
        "account": account.pk,
        "schedule": schedule.pk,
        "snapshot": snapshot.pk,
        "job": job.pk,
        "restore": restore.pk,
    }


def status(client: Client, address: str, number: int = 1) -> int:
    path = "/" + address.replace("<int:number>", str(number)).replace("<slug:group>", "general")
    answer = client.post(path) if address.endswith(POSTED) else client.get(path)
    for _ in getattr(answer, "streaming_content", ()):
        """A file that is sent is closed at its end."""
    return answer.status_code


def test_every_address_is_listed_here() -> None:
    assert sorted(addresses()) == sorted(OPEN | ALL | ADMIN | OWNED.keys())


def test_strangers_get_to_the_sign_in_page_only(things: dict[str, int]) -> None:
    for address in addresses():
        assert status(Client(), address) == (200 if address in OPEN else 302), address


def test_customers_see_no_administrators_page(things: dict[str, int], browser: Any) -> None:
    for address in ADMIN:
        assert status(browser("alice"), address) == 404, address


def test_another_customer_gets_404_and_the_owner_does_not(
    things: dict[str, int], browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backups.views.snapshots.ask", lambda *_, **__: {"entries": [], "total": 0})
    for address, thing in OWNED.items():
        assert status(browser("mallory"), address, things[thing]) == 404, address
    for address, thing in sorted(OWNED.items(), key=lambda pair: pair[0].endswith("delete/")):
        assert status(browser("alice"), address, things[thing]) in (200, 302), address


def test_a_server_wide_schedule_is_unknown_to_customers(people: dict[str, Any], browser: Any) -> None:
    made = Schedule.objects.create(name="Whole server", server=people["server"], next_run_at=now())
    assert "Whole server" not in browser("alice").get("/backups/schedules/").content.decode()
    assert status(browser("alice"), "backups/schedules/<int:number>/edit/", made.pk) == 404


def test_pages_carry_a_strict_policy(browser: Any) -> None:
    policy = browser("root").get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_wrong_password_says_how_many_tries_are_left(people: dict[str, Any]) -> None:
    client = Client()
    for tries in range(5):
        answer = client.post("/sign-in/", {"username": "alice", "password": "no"})
        assert answer.status_code == (422 if tries < 4 else 429)
    assert client.post("/sign-in/", {"username": "alice", "password": "a long password"}).status_code == 429


@pytest.mark.parametrize("path", ["config/etc/passwd", "web/home/bob/x", "web/home/alice/../bob", "web/home/alicex/y"])
def test_a_restore_stays_in_the_accounts_home(path: str) -> None:
    with pytest.raises(Invalid):
        checked_path(path, "/home/alice")

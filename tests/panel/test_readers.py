"""The readers' open repositories: opened anew when rows or the storage changed, and nobody waits for another's."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from backups import readers
from backups.models import Repository, Snapshot
from tests.panel.restoring import Site, site  # noqa: F401 - site is a fixture
from worker.asking import Refused

pytestmark = pytest.mark.django_db


def listed(site: Site, snapshot: Snapshot, path: str = "") -> int:  # noqa: F811
    alice = site.people["alice"]
    return int(site.ask("list", user=alice, snapshot=snapshot.pk, path=f"{site.top}{path}")["total"])


def opened(site: Site) -> Any:  # noqa: F811
    (warm,) = site.readers._warm.values()
    return warm


def test_a_destination_that_was_changed_is_opened_as_the_row_says_now(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    listed(site, snapshot)
    before = opened(site)
    listed(site, snapshot, "/public_html")
    assert opened(site) is before
    destination = site.people["destination"]
    old = Path(destination.config["path"])
    destination.config = {"kind": "local", "path": str(old.rename(old.with_name("moved")))}
    destination.save()
    assert listed(site, snapshot, "/logs") == 1
    assert opened(site) is not before


def test_a_repository_that_failed_is_opened_anew_after_a_while(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snapshot = site.back_up()
    listed(site, snapshot)
    before = opened(site)
    packs = Path(site.people["destination"].config["path"]).rglob("data/*/*")
    for pack in packs:
        pack.rename(pack.with_suffix(".away"))
    with pytest.raises(Refused):
        site.ask("read", user=site.people["alice"], snapshot=snapshot.pk, path=f"{site.top}/notes.txt")
    monkeypatch.setattr(readers, "_AT_LEAST_SECONDS", 0.0)
    for pack in Path(site.people["destination"].config["path"]).rglob("data/*/*.away"):
        pack.rename(pack.with_suffix(""))
    assert listed(site, snapshot, "/public_html") == 2
    assert opened(site) is not before


def test_a_repository_that_hangs_keeps_nobody_else_waiting(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snapshot = site.back_up()
    listed(site, snapshot)
    warm = opened(site)
    process = warm._session._process.pid
    os.kill(process, signal.SIGSTOP)
    monkeypatch.setattr(readers, "_ANSWER_SECONDS", 4.0)
    monkeypatch.setattr("worker.children._PATIENCE", 1)

    def wait() -> None:
        with pytest.raises(readers.PanelError):
            warm.ask(do="list", snapshot=snapshot.snapshot_id, path=site.top)

    waiting = [threading.Thread(target=wait) for _ in range(readers._MOST_WAITING)]
    for thread in waiting:
        thread.start()
    while len(warm._waiting) < len(waiting):
        time.sleep(0.01)
    began = time.monotonic()
    with pytest.raises(Refused, match="slowly"):
        listed(site, snapshot)
    assert time.monotonic() - began < 3.0
    for thread in waiting:
        thread.join()
    monkeypatch.setattr(readers, "_AT_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(readers, "_ANSWER_SECONDS", 60.0)
    assert listed(site, snapshot) == 3
    assert opened(site) is not warm


def test_closing_what_hangs_waits_for_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    snapshot = site.back_up()
    listed(site, snapshot)
    os.kill(opened(site)._session._process.pid, signal.SIGSTOP)
    monkeypatch.setattr("worker.children._PATIENCE", 2)
    Repository.objects.update(path=snapshot.repository.path, sealed_key="")
    began = time.monotonic()
    listed(site, snapshot)
    assert time.monotonic() - began < 2.0 or not site.readers._ending[0].is_alive()

"""A server that is gone for two minutes in the middle of a backup: the job says since when, and ends honestly."""

from __future__ import annotations

import random
import re
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from backups.gateway import EngineSession, session_spec
from backups.models import Repository, Snapshot
from panel.accounts.models import Account
from tests.fakes.proxy import Proxy
from tests.panel.test_destinations_runs import destination, log_of, run, schedule_for, site  # noqa: F401 - a fixture
from tests.servers import lend
from worker.states import State

pytestmark = [pytest.mark.django_db, pytest.mark.soak, pytest.mark.timeout(900)]
OUTAGE = 120.0
SERVERS = {"ftps": "pure-ftpd", "sftp": "openssh", "s3": "ceph-rgw"}
SINCE = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


def ports_of(kind: str) -> list[int]:
    """The ports through which a kind's server is reached."""
    told = lend(SERVERS[kind])
    if kind == "s3":
        port = urlsplit(told["endpoint"]).port
        assert port
        return [port]
    low, high = told.get("data_ports", (1, 0))
    return [told["port"], *range(low, high + 1)]


def behind(kind: str, proxy: Proxy) -> dict[str, str]:
    """The setting that leads through the proxy."""
    if kind == "s3":
        return {"endpoint": f"http://{proxy.address}:{ports_of(kind)[0]}"}
    return {"host": proxy.address}


def outage(proxy: Proxy, after: int) -> None:
    """Go away once so many bytes went through, and come back."""
    while proxy.traffic.up < after:
        time.sleep(0.05)
    proxy.faults.refusing = True
    proxy.cut_all()
    time.sleep(OUTAGE)
    proxy.faults.refusing = False


def inspected(repository: Repository) -> list[dict[str, Any]]:
    """What a check that reads all data says of a repository, the last event first."""
    session = EngineSession(session_spec(repository, None))
    session.send(do="inspect", item=1, seconds=600)
    said: list[dict[str, Any]] = []
    try:
        while not session.ended and (not said or said[0]["event"] != "ended"):
            said = [*reversed(list(session.events(1.0))), *said]
    finally:
        session.close()
    return said


@pytest.mark.parametrize("retries", [0, 5])
@pytest.mark.parametrize("kind", SERVERS)
def test_two_minutes_without_a_server_are_told_and_nothing_green_is_missing(
    people: dict[str, Any],
    site: Account,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    retries: int,
) -> None:
    monkeypatch.setattr(settings, "WORKSPACE_DIR", tmp_path)
    rng = random.Random(1)
    for number in range(60):
        (Path(site.home) / f"photo-{number}").write_bytes(rng.randbytes(1_000_000))
    with Proxy(ports_of(kind), seed=3) as proxy:
        place = destination(kind, people, tmp_path, retries=retries, up=6_000_000, **behind(kind, proxy))
        schedule = schedule_for(people, site, place)
        away = threading.Thread(target=outage, args=(proxy, 15_000_000), daemon=True)
        away.start()
        job = run(people, schedule)
        away.join()
        log = log_of(job)
        print(job.state, job.error_code, job.error, log, sep="\n")
        if retries == 0:
            assert job.state == State.SUCCESS, log
            assert re.search(rf"the server has not answered {SINCE}; it is asked again", log)
            assert "the server answers again" in log
        else:
            assert (job.state, job.error_code[:9]) == (State.FAILED, "HF-STORE-"), log
            assert re.search(SINCE, job.error), job.error
            assert not Snapshot.objects.exists()
            again = run(people, schedule)
            assert again.state == State.SUCCESS, log_of(again)
        place.refresh_from_db()
        assert place.gone_since is None
        told = inspected(Repository.objects.get())
        (whole,) = [event for event in told if event["event"] == "inspected"]
        assert (whole["errors"], whole["missing"], told[0]["status"]) == (0, 0, 0), told
        assert whole["packs_read"] >= 3

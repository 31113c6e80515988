"""The web tier seals secrets and cannot open them; no secret lies where it does not belong."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.worker.installation import ROOT, Installation
from tests.worker.test_live import broker

PASSWORD = "a password of the administrator"
STORAGE_SECRET = "storage-secret-4711-of-the-bucket"
PAGES = ("/", "/accounts/", "/backups/schedules/", "/backups/history/", "/backups/restore/", "/queue/",
         "/destinations/", "/audit/", "/system/", "/settings/general/", "/me/", "/tasks/active/")  # fmt: skip


class Browser:
    """Signs in and reads pages, as a person without JavaScript would."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(cookies)

    def get(self, path: str, **fields: str) -> tuple[int, str]:
        """Return status and text of a page; with fields they are posted, with the page's own token."""
        data = None
        if fields:
            token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get(path)[1])
            assert token, f"{path} has no form"
            data = urllib.parse.urlencode(fields | {"csrfmiddlewaretoken": token[1]}).encode()
        try:
            with self._opener.open(self._root + path, data, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except urllib.error.URLError:
            return 0, ""


@pytest.fixture
def apart(plain: Installation) -> Iterator[Installation]:
    """An installation whose web process has no private key."""
    plain.call("collect")
    plain.call("password", name="admin", text=PASSWORD)
    env, plain.env = plain.env, without_key(plain)
    plain.start("web")
    plain.env = env
    yield plain
    plain.stop("web")


def without_key(here: Installation) -> dict[str, str]:
    return here.env | {"HOLDFAST_MASTER_KEY_FILE": "/nonexistent/master.key"}


def as_web(here: Installation) -> dict[str, Any]:
    """Let a process without the private key make a schedule and a bucket; return their numbers."""
    told = json.dumps({"home": str(here.home("carol", 1)), "secret": STORAGE_SECRET})
    done = subprocess.run(
        [sys.executable, "-m", "tests.worker.as_web"], cwd=ROOT, env=without_key(here), text=True, capture_output=True,
        input=told, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def signed_in(here: Installation) -> Browser:
    browser = Browser(here.port)
    here.until(lambda: browser.get("/health")[0] == 200)
    status, text = browser.get("/sign-in/", username="admin", password=PASSWORD)
    assert status == 200, text[:500]
    assert "sign-out" in browser.get("/")[1]
    return browser


def test_pages_work_without_the_private_key_and_nothing_opens_there(apart: Installation) -> None:
    here = apart
    browser = signed_in(here)
    made = as_web(here)
    assert made["sealed"] >= 2
    assert made["opened"] == []
    for path in PAGES:
        assert browser.get(path)[0] == 200, path


def test_no_secret_is_in_the_broker_logs_pages_or_errors(apart: Installation) -> None:
    here = apart
    browser = signed_in(here)
    overheard = Overheard(broker(here))
    made = as_web(here)
    schedule = made["schedule"]
    here.start("worker", "readers", "scheduler")
    job = here.call("run", schedule=schedule)
    row = here.ended(job)
    assert row["state"] == "success", row
    shown = browser.get(f"/backups/schedules/{schedule}/key/", password=PASSWORD)[1]
    secrets = here.call("secrets_of_installation")
    assert any(secret in shown for secret in secrets), "the worker answers for the web"
    wrong = browser.get(f"/backups/schedules/{schedule}/key/", password="a wrong " + PASSWORD)[1]
    pages = [browser.get(path)[1] for path in (*PAGES, f"/backups/history/{job}/", f"/backups/history/{job}/log/",
                                               "/nowhere/", "/backups/schedules/999999/edit/")]  # fmt: skip
    pages += [browser.get(f"/backups/schedules/{schedule}/{part}/")[1] for part in ("edit", "key")]
    pages += [browser.get(f"/destinations/{made['destination']}/")[1]]
    heard = overheard.end()
    assert "holdfast:questions" in heard, "the question for the key went through the broker"
    places = {"broker": heard, "logs": here.log.read_text(), "pages": "".join(pages), "error": wrong,
              "job log": "\n".join(row["log"])}  # fmt: skip
    for place, text in places.items():
        assert text or place == "logs", place
        for secret in (*secrets, STORAGE_SECRET, PASSWORD):
            assert secret not in text, f"{secret[:6]}… is in the {place}"


class Overheard:
    """Everything that anybody says to a broker."""

    def __init__(self, connection: redis.Redis) -> None:
        self._connection = connection
        self._heard: list[str] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def _listen(self) -> None:
        with self._connection.monitor() as monitor:
            self._ready.set()
            for command in monitor.listen():
                self._heard.append(command["command"])
                if "the test is over" in command["command"]:
                    return

    def end(self) -> str:
        """Return what was said."""
        self._connection.echo("the test is over")
        self._thread.join(20)
        self._connection.close()
        return "\n".join(self._heard)


def test_the_key_file_is_the_workers_alone(plain: Installation) -> None:
    file = plain.folder / "data" / "keys" / "master.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o077 == 0
    if os.geteuid() == 0:
        reading = subprocess.run(["cat", str(file)], user=65534, capture_output=True, check=False)
        assert reading.returncode != 0
        assert not reading.stdout
    assert Path(plain.folder / "data" / "master.pub").exists()

"""Real servers for the tests: one instance of each per test run, started when it is first asked for.

``lend("pure-ftpd")`` returns what a client needs to know.  All test processes of a run share the instance; a keeper
process of its own ends it soon after the last of them is gone, however they ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tests.needs import missing

PATIENCE = 120.0
_ROOT = Path(__file__).parents[2]


@cache
def _run_folder() -> Path:
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"process-{os.getpid()}"
    folder = Path(tempfile.gettempdir()) / f"holdfast-servers-{os.getuid()}-{run[:24]}"
    folder.mkdir(mode=0o711, exist_ok=True)
    return folder


@cache
def lend(name: str) -> dict[str, Any]:
    """Return host, port, log-in and folder of the server ``name``, started if need be; skips where it cannot run."""
    folder = _run_folder() / name
    folder.mkdir(mode=0o711, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        users = folder / "users"
        users.mkdir(exist_ok=True)
        (users / str(os.getpid())).touch()
        ready = folder / "ready.json"
        if not ready.exists():
            _start(name, folder)
    told: dict[str, Any] = json.loads(ready.read_text())
    if "missing" in told:
        missing(told["missing"])
    if "failed" in told:
        raise RuntimeError(f"the test server {name} did not start:\n{told['failed']}")
    return told


@contextmanager
def alone(name: str) -> Iterator[dict[str, Any]]:
    """Lend a server to one test at a time, for those that fill all its places."""
    told = lend(name)
    with open(_run_folder() / name / "alone", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield told


def _start(name: str, folder: Path) -> None:
    with open(folder / "keeper.log", "w") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.keeper", name, str(folder)],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
    deadline = time.monotonic() + PATIENCE
    while not (folder / "ready.json").exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the keeper of {name} ended:\n{(folder / 'keeper.log').read_text()[-2000:]}")
        time.sleep(0.02)
    # The keeper outlives this process on purpose; nobody waits for it.
    keeper.returncode = 0

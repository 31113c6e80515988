"""Programs of our own that a worker starts: a pipe tells them what to do, and the end of their input ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from django.conf import settings

_PATIENCE = 10


def start_child(module: str, spec: dict[str, Any], *, keep: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """Start a module of ours in a session of its own, with pipes to and from it; its ``--spec-fd`` gives ``spec``.

    Of the environment it gets the search path and the variables to ``keep``: secrets are in ``spec`` only.
    """
    env = {name: os.environ[name] for name in keep if name in os.environ}
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--spec-fd", str(reading)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[reading],
        start_new_session=True,
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ.get("PATH", ""), "TZ": "UTC", "LANG": "C.UTF-8", **env},
    )
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe, suppress(BrokenPipeError):
        pipe.write(json.dumps(spec).encode())
    return process


def end_child(process: subprocess.Popen[bytes], *, patience: float | None = None) -> None:
    """End a child: politely at first, by force with all it started after ``patience`` (10) seconds.  Twice is fine."""
    if process.stdin is not None:
        with suppress(BrokenPipeError, ValueError):
            process.stdin.close()
    try:
        process.wait(_PATIENCE if patience is None else patience)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

"""A whole installation in a folder of its own: its parts are real processes that can be started and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.servers.kinds import free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


class Agent:
    """A process inside the installation that calls the panel's own functions."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        with open(log, "ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.worker.agent"],
                cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True,
            )  # fmt: skip

    def ask(self, name: str, /, **args: Any) -> None:
        """Send a call."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"name": name, "args": args}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Return what the call sent last returned."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the agent has ended"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


class Installation:
    """Parts by name: broker, web, worker, readers, scheduler."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.port = free_port()
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("HOLDFAST_", "DJANGO_"))}
        given = {"DATA_DIR": str(folder / "data"), "SECRET_KEY": "a secret of this test", "WORKER_PROCESSES": "2"}
        self.env = outside | {f"HOLDFAST_{name}": value for name, value in (given | variables).items()}
        self.log = folder / "log"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._agent = self.agent()
        try:
            self.commands: dict[str, list[str]] = self.call("set_up")
        except BaseException:
            self._agent.close()
            raise

    def agent(self) -> Agent:
        """Start another process that calls functions; the caller closes it."""
        return Agent(self.env, self.folder / "log")

    def call(self, name: str, /, **args: Any) -> Any:
        """Call a function of :mod:`tests.worker.agent`."""
        self._agent.ask(name, **args)
        return self._agent.answer()

    def start(self, *names: str) -> None:
        """Start parts."""
        for name in names:
            command = [str(self.port) if word == "0" and name == "web" else word for word in self.commands[name]]
            with open(self.log, "ab") as log:
                self.processes[name] = subprocess.Popen(
                    command, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            if name == "broker":
                self.until((self.folder / "data/run/broker.sock").exists)

    def kill(self, name: str) -> None:
        """End a part as a power cut would; what it started is left to itself."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self, *names: str) -> None:
        """End parts politely; all of them without a name."""
        for name in names or [
            name for name in ("web", "readers", "scheduler", "worker", "broker") if name in self.processes
        ]:
            process = self.processes.pop(name)
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def tidy(self) -> None:
        """End all parts but the broker, and forget what waits and the settings."""
        for name in [name for name in self.processes if name != "broker"]:
            self.stop(name)
        self.call("tidy")

    def close(self) -> None:
        """End everything."""
        self.stop()
        self._agent.close()

    def until(self, check: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """Wait until ``check`` returns something true; return that."""
        deadline = time.monotonic() + patience
        while not (found := check()):
            assert time.monotonic() < deadline, f"it never happened; the log: {self.log.read_text()[-4000:]}"
            time.sleep(0.05)
        return found

    def ended(self, job: int, patience: float = PATIENCE) -> dict[str, Any]:
        """Wait for a job's end; return its rows."""
        return self._once(job, lambda row: row["state"] not in ("pending", "running"), patience)

    def started(self, job: int) -> dict[str, Any]:
        """Wait until an item of a job has moved some bytes; return the job's rows."""
        return self._once(job, lambda row: any(item["bytes"] for item in row["items"]), PATIENCE)

    def _once(self, job: int, holds: Callable[[dict[str, Any]], bool], patience: float) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            row: dict[str, Any] = self.call("job", number=job)
            return row if holds(row) else None

        return dict(self.until(look, patience))

    def home(self, name: str, megabytes: int, files: int = 8) -> Path:
        """Make a home folder with so much that cannot be compressed."""
        home = self.folder / "home" / name
        home.mkdir(parents=True, exist_ok=True)
        for number in range(files):
            (home / f"file-{number}").write_bytes(os.urandom((megabytes << 20) // files))
        return home

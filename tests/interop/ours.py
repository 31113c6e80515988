"""Our engine as people run it: the command line, in a process of its own.

``run`` and ``quick`` spare the time that its imports take; ``start`` starts an interpreter.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

import backups
from backups.engine.__main__ import WIRING
from backups.engine.cli.main import main
from backups.engine.keys import KdfParams, key_id, wrap
from backups.engine.layout import KEYS, object_key
from backups.engine.repository import Repository
from backups.engine.times import now_text
from destinations.storage.local import LocalStore
from tests import forking
from tests.peers import PASSWORD

ROOT = Path(backups.__file__).parents[1]
QUICK = KdfParams(n=1024)


class Forked:
    """A verb in a forked child; used as a ``Popen`` is."""

    def __init__(self, argv: list[str], cwd: Path) -> None:
        self.returncode: int | None = None
        self._output = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        self.pid = os.fork()
        if self.pid == 0:
            self._run(argv, cwd)

    def _run(self, argv: list[str], cwd: Path) -> NoReturn:
        code = 70
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, file in enumerate(self._output, 1):
                os.dup2(file.fileno(), number)
            sys.stdout = open(1, "w", errors="surrogateescape", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", errors="surrogateescape", closefd=False)  # noqa: SIM115
            os.chdir(cwd)
            code = main(argv, WIRING)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:  # noqa: BLE001 - a child must not unwind into the test runner
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self) -> None:
        """Send SIGKILL if it runs."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float = 120) -> tuple[bytes, bytes]:
        """Wait for its end and return its output."""
        if self.returncode is None:
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        said = []
        for file in self._output:
            file.seek(0)
            said.append(file.read())
            file.close()
        return said[0], said[1]


@dataclass(frozen=True)
class Ours:
    """Runs verbs on one repository."""

    repo: Path
    password_file: Path
    cache: Path

    def environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """The variables a call runs with."""
        return {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}

    def command(self, *args: str | Path) -> list[str]:
        """The whole command line of a verb."""
        fixed = ["-r", str(self.repo), "-p", str(self.password_file), "--cache-dir", str(self.cache)]
        return [sys.executable, "-m", "backups.engine", *fixed, *map(str, args)]

    def run(
        self,
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        stdin: bytes | None = None,
        cwd: Path | None = None,
        timeout: float = 240,
    ) -> subprocess.CompletedProcess[str]:
        """Run one verb; with check, a failure fails the test and shows what was said."""
        done = forking.run(self.command(*args), env=self.environment(env), data=stdin, cwd=cwd, timeout=timeout)
        text = subprocess.CompletedProcess(
            done.args,
            done.returncode,
            done.stdout.decode("utf-8", "surrogateescape"),
            done.stderr.decode("utf-8", "surrogateescape"),
        )
        if check and done.returncode:
            pytest.fail(f"ours {' '.join(map(str, args))}: exit {done.returncode}\n{text.stdout}{text.stderr}"[-4000:])
        return text

    def summary(self, *args: str | Path, **options: Any) -> dict[str, Any]:
        """Run with --json: the last object printed."""
        lines = self.run("--json", *args, **options).stdout.splitlines()
        found: dict[str, Any] = json.loads(lines[-1])
        return found

    def start(self, *args: str | Path, cwd: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a verb and leave it running; input and output are pipes."""
        return subprocess.Popen(
            self.command(*args),
            env=self.environment(),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def fork(self, *args: str | Path, cwd: Path | None = None) -> Forked:
        """Start a verb in a forked child of this process: the same command line, without the time to load it."""
        return Forked(self.command(*args)[3:], cwd or Path.cwd())

    def quick(self, *args: str | Path, cwd: Path | None = None) -> str:
        """Run a verb to its end in a forked child and return what it said; a failure fails the test."""
        process = self.fork(*args, cwd=cwd)
        said, errors = process.communicate()
        if process.returncode:
            pytest.fail(f"ours {' '.join(map(str, args))}: exit {process.returncode}\n{said!r}{errors!r}"[-4000:])
        return said.decode("utf-8", "surrogateescape")

    def open(self) -> Repository:
        """The repository in this process, its index loaded."""
        repository = Repository.open(self.store, self.password)
        repository.load_index()
        return repository

    @property
    def store(self) -> LocalStore:
        """Where the repository is."""
        return LocalStore(self.repo)

    @property
    def password(self) -> str:
        """The password in the file."""
        return self.password_file.read_text().strip()


def give_quick_key(repo: Path) -> None:
    """Replace the key of a repository by one of the same password that costs little to open."""
    store = LocalStore(repo)
    repository = Repository.open(store, PASSWORD)
    raw = wrap(repository.key, PASSWORD, QUICK, created=now_text())
    store.put(object_key(KEYS, key_id(raw)), raw)
    store.delete(object_key(KEYS, repository.key_id))


def on_repository(repo: Path, workspace: Path) -> Ours:
    """Our engine for a repository that exists, made by whomever with the usual password."""
    file = workspace / "password"
    file.write_text(PASSWORD + "\n")
    return Ours(repo, file, workspace / "our-cache")


def new_repository(workspace: Path, version: int = 2) -> Ours:
    """A new repository of ours with a key that costs little to open."""
    repo = workspace / "repository"
    Repository.create(LocalStore(repo), PASSWORD, version=version, params=QUICK).close()
    return on_repository(repo, workspace)

"""How each kind of test server is installed, started and known to be ready."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 60.0
USER, PASSWORD = "backup", "correct horse"


class Missing(Exception):
    """A program or right is not here; the text says which."""


def program(name: str, package: str = "") -> str:
    """Return the path of a program, also from the system folders."""
    found = shutil.which(name) or shutil.which(
        name, path=f"/usr/sbin:/sbin:/usr/local/sbin:{Path(sys.executable).parent}"
    )
    if not found:
        raise Missing(f"no program {name!r}" + (f" (Debian package {package})" if package else ""))
    return found


def needs_root(what: str) -> None:
    if os.geteuid():
        raise Missing(f"{what} runs as root only")


def free_port() -> int:
    """Return a loopback port that is free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_range(count: int) -> tuple[int, int]:
    """Return the first and last of ``count`` neighbouring ports that look free."""
    for first in range(20000 + os.getpid() % 4000, 32000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first, first + count - 1
    raise Missing("no range of free ports")


def wait_for(check: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until ``check`` holds; RuntimeError with the log if the process ends or time is up."""
    deadline = time.monotonic() + PATIENCE
    while not check():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{log.name}: {log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Say whether something accepts connections on this loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Server:
    """A server below ``folder``; :meth:`start` returns what clients need to know."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> dict[str, object]:
        raise NotImplementedError

    def stop(self) -> None:
        """End what was started, the latest first."""
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, name: str, *command: str | Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a long-running program; its output goes to ``<name>.log``."""
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **(env or {})},
            )
        self.processes.append(process)
        return process

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def home(self) -> Path:
        """Make the folder that clients see."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return home


def kind(name: str) -> type[Server]:
    """Return the class of a server by the name it is lent under."""
    from tests.servers.databases import DATABASES
    from tests.servers.ftp_servers import FTP_SERVERS
    from tests.servers.s3_servers import S3_SERVERS
    from tests.servers.ssh_servers import SSH_SERVERS

    return {**FTP_SERVERS, **SSH_SERVERS, **S3_SERVERS, **DATABASES}[name]

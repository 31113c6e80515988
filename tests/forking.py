"""Programs of ours without the start of an interpreter: a process that has their code loaded forks for each of them.

``Popen`` is used as that of :mod:`subprocess` is.  What runs is the program itself, as ``python -m`` runs it, with
its own standard streams, environment and folder; only the imports have been made before, and new keys cost little to
open.  Tests of the start of a program itself do not use this.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
_PROGRAMS = ("backups.session.__main__", "backups.session.keyring", "backups.engine.__main__", "destinations.tester")
_LATER = (
    "backups.engine.archiver", "backups.session.archiving", "backups.session.browse", "backups.session.putting",
    "backups.session.source", "backups.session.upkeep", "destinations.storage.ftp", "destinations.storage.location",
    "destinations.storage.s3", "destinations.storage.sftp", "psutil", "restores.targets.archive",
    "restores.targets.folder",
)  # fmt: skip
"""What the programs load when they need it."""
_CHEAP = (1024, 8, 1)
_HIGH, _MOST = 500, 4096
"""Numbers of descriptors: above them those that were sent wait until the others are closed; bytes of a message."""


class Popen(subprocess.Popen[Any]):
    """A module of ours as a child of the process that forks: ``Popen([sys.executable, "-m", module, *arguments])``."""

    def _execute_child(  # type: ignore[override]
        self, args: list[str], executable: Any, preexec_fn: Any, close_fds: bool, pass_fds: tuple[int, ...],
        cwd: Any, env: dict[str, str] | None, startupinfo: Any, creationflags: int, shell: bool,
        p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int, errread: int, errwrite: int,
        restore_signals: bool, gid: Any, gids: Any, uid: Any, umask: int, start_new_session: bool, *_: Any,
    ) -> None:  # fmt: skip
        program, option, module, *arguments = map(os.fspath, args)
        assert (program, option) == (sys.executable, "-m"), args
        self._told, status = os.pipe()
        streams = [p2cread, c2pwrite, errwrite]
        own = [number if number >= 0 else own for own, number in enumerate(streams)]
        order = {
            "module": module, "arguments": arguments, "cwd": os.fspath(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env), "places": [0, 1, 2, *pass_fds],
            "session": bool(start_new_session),
        }  # fmt: skip
        self.pid = _forker().order(order, [status, *own, *pass_fds])
        self._child_created = True
        os.close(status)
        for number in {number for number in streams if number >= 0}:
            os.close(number)

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and self._has_ended(0):
            self._take()
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            if not self._has_ended(timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._take()
        return self.returncode

    def _has_ended(self, timeout: float | None) -> bool:
        told = select.poll()  # unlike select, for descriptors of any number
        told.register(self._told, select.POLLIN)
        return bool(told.poll(None if timeout is None else max(0, timeout) * 1000))

    def _take(self) -> None:
        text = os.read(self._told, 20)
        os.close(self._told)
        self.returncode = int(text or -signal.SIGKILL)


class _Forker:
    """The process that forks, seen from a test."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._one_at_a_time = threading.Lock()
        self.owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.forking", str(theirs.fileno())],
            cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
        )  # fmt: skip
        theirs.close()
        atexit.register(self.close)

    def order(self, order: dict[str, Any], descriptors: list[int]) -> int:
        """Have a child forked; returns its number."""
        reading, writing = os.pipe()
        with self._one_at_a_time:
            with open(writing, "w", encoding="utf-8") as file:
                socket.send_fds(self._socket, [b"order"], [reading, *descriptors])
                os.close(reading)
                json.dump(order, file)
            return int(self._socket.recv(_MOST))

    def close(self) -> None:
        """End it."""
        if self.owner == os.getpid():
            self._socket.close()
            self._process.wait()


_running: list[_Forker] = []


_starting = threading.Lock()


def _forker() -> _Forker:
    with _starting:
        if not _running or _running[-1].owner != os.getpid():
            _running.append(_Forker())
        return _running[-1]


def run(args: list[str], *, data: bytes | str | None = None, timeout: float, **options: Any) -> Any:
    """Run a program of ours to its end, as :func:`subprocess.run` does with its output captured."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    if data is not None:
        options["stdin"] = subprocess.PIPE
    with Popen(args, **options) as process:
        try:
            said, errors = process.communicate(data, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(args, process.returncode, said, errors)


def _serve(line: socket.socket) -> None:
    """Fork for each order, and tell how each child ended, until nobody is left to order."""
    waking, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    waiting: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([line, waking], [], [])
        if waking in ready:
            os.read(waking, _MOST)
            _reap(waiting)
        if line in ready:
            message, descriptors, _, _ = socket.recv_fds(line, _MOST, 64)
            if not message:
                line.close()
                return
            reading, status, *others = descriptors
            with open(reading, encoding="utf-8") as file:
                order = json.load(file)
            pid = os.fork()
            if pid == 0:
                line.detach()
                _become(order, others)
            waiting[pid] = status
            for number in others:
                os.close(number)
            line.send(str(pid).encode())


def _reap(waiting: dict[int, int]) -> None:
    while waiting:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        number = waiting.pop(pid)
        with suppress(BrokenPipeError):
            os.write(number, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(number)


def _become(order: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Be the program that was ordered."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    high = [fcntl.fcntl(number, fcntl.F_DUPFD, _HIGH) for number in descriptors]
    os.closerange(0, _HIGH)
    for number, place in zip(high, order["places"], strict=True):
        os.dup2(number, place)
    os.closerange(_HIGH, _HIGH + 100)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    if order["session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    module = order["module"]
    sys.argv = [module, *order["arguments"]]
    for name in (module, f"{module}.__main__"):
        if name in _PROGRAMS:
            sys.modules.pop(name, None)
    code: Any = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    _end(int(code or 0) if not isinstance(code, str) else 1)


def _end(code: int) -> NoReturn:
    """End as an interpreter does, but for taking all modules apart."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _main() -> None:
    for name in (*_PROGRAMS, *_LATER):
        importlib.import_module(name)
    from backups.engine.keys import KdfParams

    KdfParams.__init__.__defaults__ = _CHEAP  # type: ignore[attr-defined]
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    _main()

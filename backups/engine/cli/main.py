"""Runs one verb and turns what it raises into an exit code."""

from __future__ import annotations

import ctypes
import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from backups.engine.cli import parser
from backups.engine.cli.session import Session, Wiring
from backups.engine.errors import BadRequest, Canceled, EngineError
from backups.engine.output import Console
from destinations.storage.errors import StoreError

_M_ARENA_MAX = -8
_PLACES = {
    "init": "create:init",
    "backup": "backup:run_backup",
    "snapshots": "browse:snapshots",
    "ls": "browse:ls",
    "dump": "dump:dump",
    "restore": "restore:restore",
    "diff": "browse:diff",
    "find": "browse:find",
    "stats": "browse:stats",
    "cat": "browse:cat",
    "tag": "maintain:tag",
    "forget": "maintain:forget",
    "prune": "maintain:prune",
    "check": "check:check",
    "repair": "maintain:repair",
    "recover": "maintain:recover",
    "copy": "copying:copy",
    "upgrade": "maintain:upgrade",
    "key": "access:key",
    "locks": "access:locks",
    "unlock": "access:unlock",
}


def _lazily(place: str) -> Callable[[Session], int]:
    """Return a verb that is imported when it is run: a short command should not pay for all the others."""
    module, name = place.split(":")

    def run(session: Session) -> int:
        verb: Callable[[Session], int] = getattr(import_module(f"backups.engine.cli.{module}"), name)
        return verb(session)

    return run


def main(argv: Sequence[str], wiring: Wiring) -> int:
    """Run the command line; return its exit code.

    0 done, 1 failed, 3 incomplete source, 10 no repository, 11 locked, 12 wrong password, 130 stopped.
    """
    args = parser.build({name: _lazily(place) for name, place in _PLACES.items()}).parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # names of any bytes go out as they are
    args.repo = args.repo or os.environ.get("HOLDFAST_REPOSITORY") or os.environ.get("RESTIC_REPOSITORY")
    console = Console(json=args.json, quiet=args.quiet, verbose=args.verbose)
    session = Session(args, console, wiring)
    _tune_memory()
    _stop_cleanly(session)
    try:
        if not args.repo:
            raise BadRequest("no repository: give --repo LOCATION")
        code: int = args.run(session)
        sys.stdout.flush()
    except (EngineError, StoreError) as error:
        code = error.exit_code if isinstance(error, EngineError) else 1
        if not isinstance(error, Canceled) or not console.quiet:
            console.failed(error, code)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - so that the exit does not fail too
        code = 1
    except OSError as error:
        code = BadRequest.exit_code
        console.failed(BadRequest(f"{error.filename or 'this machine'}: {error.strerror or error}"), code)
    except KeyboardInterrupt:
        code = Canceled.exit_code
    return code


def _tune_memory() -> None:
    """Suit a short-lived process that makes millions of small, acyclic objects and hands large buffers between threads.

    Looking for cycles often is time lost; and with an arena for each thread glibc keeps a fifth more memory.
    """
    gc.set_threshold(100_000, 20, 100)
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    except (OSError, AttributeError):
        return


def _stop_cleanly(session: Session) -> None:
    """Make Ctrl-C and SIGTERM ask the run to stop; a second one interrupts it."""

    def stop(number: int, _frame: object) -> None:
        if session.cancel.is_set:
            raise KeyboardInterrupt
        session.cancel.cancel()
        if session.interruptible:
            raise KeyboardInterrupt
        signal.signal(number, stop)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)

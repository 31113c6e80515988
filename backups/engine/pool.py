"""Forked helper processes for work that Python threads cannot share out.

The parent keeps the list of tasks; a child takes one at a time, so a slow task holds up nobody.  With
no children the same work is done in the calling process, in order.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from backups.engine.errors import EngineError
from destinations.storage.errors import StoreError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Report = Callable[[Any], None]
Handler = Callable[[Any, Report], Any]
_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 10.0
"""How long a child that is told to stop may finish what it is storing."""
_AHEAD = 2
"""Tasks a child holds: the one it does, and the next, so that it never waits for the parent."""


class WorkerDied(EngineError):
    """A helper process ended without an answer: it was killed, or ran out of memory."""

    code = "HF-ENGINE-WORKER"
    guidance = "Look for the kernel's out-of-memory killer; start the run again."


class _Child:
    __slots__ = ("busy", "pid", "pipe")

    def __init__(self, pid: int, pipe: Connection) -> None:
        self.pid, self.pipe, self.busy = pid, pipe, 0


class Pool:
    """Runs ``handler(task, report)`` for every submitted task and yields (task, result) as they come.

    ``make_handler`` is called once in each process; a handler that has a ``close`` is closed when it ends.
    What a handler gives to ``report`` reaches ``on_report`` in the parent.  ``tick`` is called there about five
    times a second; what it raises stops everything.  An exception of a handler is raised in the parent.  Use as a
    context manager.
    """

    def __init__(
        self,
        make_handler: Callable[[], Handler],
        workers: int,
        *,
        on_report: Callable[[Any], None] = lambda _: None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._make_handler = make_handler
        self._count = workers
        self._on_report = on_report
        self._tick = tick
        self._tasks: deque[Any] = deque()
        self._children: list[_Child] = []
        self._handler: Handler | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for child in self._children:
            if kind is not None:
                _signal(child.pid, signal.SIGTERM)
            child.pipe.close()
        deadline = time.monotonic() + _GRACE_SECONDS
        for child in self._children:
            _reap(child.pid, deadline if kind is not None else None)
        self._children.clear()

    def submit(self, task: Any) -> None:
        """Add a task; allowed while results are being read."""
        self._tasks.append(task)

    def results(self) -> Iterator[tuple[Any, Any]]:
        """Yield (task, result) until nothing is left.  Tasks submitted meanwhile are done too."""
        if not self._count:
            yield from self._inline()
            return
        from multiprocessing.connection import wait  # slow to import, and many runs have no children

        while self._tasks or any(child.busy for child in self._children):
            self._start()
            self._feed()
            ready = wait([child.pipe for child in self._children], timeout=0.2)
            self._tick()
            for child in self._children:
                if child.pipe in ready:
                    yield from self._receive(child)

    def everywhere(self, task: Any) -> list[Any]:
        """Give ``task`` to every process that was started (with none: to this one); return their results."""
        if not self._count:
            if self._handler is None:
                return []
            return [self._handler(task, self._on_report)]
        from multiprocessing.connection import wait

        answers: list[Any] = []
        for child in self._children:
            self._send(child, task)
        while any(child.busy for child in self._children):
            ready = wait([child.pipe for child in self._children], timeout=0.2)
            self._tick()
            for child in self._children:
                if child.pipe in ready:
                    answers.extend(result for _, result in self._receive(child))
        return answers

    def _inline(self) -> Iterator[tuple[Any, Any]]:
        while self._tasks:
            self._tick()
            task = self._tasks.popleft()
            if self._handler is None:
                self._handler = self._make_handler()
            yield task, self._handler(task, self._on_report)

    def _start(self) -> None:
        from multiprocessing.connection import Pipe

        while len(self._children) < min(self._count, len(self._tasks) + sum(1 for c in self._children if c.busy)):
            ours, theirs = Pipe()
            pid = os.fork()
            if pid == 0:
                ours.close()
                for other in self._children:
                    other.pipe.close()
                _serve(theirs, self._make_handler)
            theirs.close()
            self._children.append(_Child(pid, ours))

    def _feed(self) -> None:
        for depth in range(_AHEAD):
            for child in self._children:
                if self._tasks and child.busy <= depth and (depth == 0 or len(self._tasks) > len(self._children)):
                    self._send(child, self._tasks.popleft())

    def _send(self, child: _Child, task: Any) -> None:
        try:
            child.pipe.send(task)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise WorkerDied(f"helper process {child.pid} is gone") from error
        child.busy += 1

    def _receive(self, child: _Child) -> Iterator[tuple[Any, Any]]:
        while child.pipe.poll():
            try:
                what, task, value = child.pipe.recv()
            except (EOFError, ConnectionResetError) as error:
                raise WorkerDied(f"helper process {child.pid} ended without an answer") from error
            if what == "report":
                self._on_report(value)
            elif what == "error":
                child.busy -= 1
                raise value
            else:
                child.busy -= 1
                yield task, value


def default_workers() -> int:
    """Return how many helper processes make sense: one a core this process may use, eight at most."""
    return max(1, min(8, len(os.sched_getaffinity(0))))


def _serve(pipe: Connection, make_handler: Callable[[], Handler]) -> NoReturn:
    """The life of a child; never returns, and runs nothing of the parent's clean-up."""
    code = 1
    close: Callable[[], None] = _nothing
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        gc.freeze()
        gc.disable()
        handler = make_handler()
        close = getattr(handler, "close", _nothing)

        def report(value: Any) -> None:
            pipe.send(("report", None, value))

        while True:
            try:
                task = pipe.recv()
            except (EOFError, ConnectionResetError):
                break
            try:
                answer = ("done", task, handler(task, report))
            except Exception as error:  # noqa: BLE001 - carried to the parent, which raises it
                answer = ("error", task, _portable(error))
            pipe.send(answer)
        code = 0
    except (BrokenPipeError, ConnectionResetError):
        code = 0
    except BaseException:  # noqa: BLE001 - a child must not unwind into its parent's frames
        import traceback

        traceback.print_exc()
    finally:
        try:
            close()
        finally:
            sys.stderr.flush()
            os._exit(code)


def _nothing() -> None:
    """For handlers that have nothing to close."""


def _portable(error: Exception) -> Exception:
    """Return the error as something that survives the pipe, with its notes as text."""
    if isinstance(error, EngineError | StoreError | OSError):
        return error
    import traceback

    text = "".join(traceback.format_exception(error))
    return EngineError(f"internal error in a helper process: {text}")


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap(pid: int, deadline: float | None) -> None:
    """Wait for a child to end; after the deadline it is killed."""
    try:
        while deadline is not None and os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                _signal(pid, signal.SIGKILL)
                break
            time.sleep(0.01)
        else:
            if deadline is not None:
                return
        os.waitpid(pid, 0)
    except ChildProcessError:
        return

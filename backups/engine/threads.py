"""The same work as :mod:`backups.engine.pool` does, in threads of one process: for stores that cannot be shared
with forked children, where the time goes into waiting for the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import local
from types import TracebackType
from typing import Any

from backups.engine.pool import Handler


class ThreadPool:
    """Runs ``handler(task, report)`` for every submitted task and yields (task, result) as they come.

    ``make_handler`` is called once in each of the ``threads`` threads.  Used as :class:`pool.Pool` is.
    """

    def __init__(
        self, make_handler: Callable[[], Handler], threads: int, *, tick: Callable[[], None] = lambda: None
    ) -> None:
        self._make_handler = make_handler
        self._tick = tick
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self._local = local()
        self._tasks: deque[Any] = deque()
        self._running: dict[Future[Any], Any] = {}

    def __enter__(self) -> ThreadPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def submit(self, task: Any) -> None:
        """Add a task; allowed while results are being read."""
        self._tasks.append(task)

    def results(self) -> Iterator[tuple[Any, Any]]:
        """Yield (task, result) until nothing is left.  Tasks submitted meanwhile are done too."""
        while self._tasks or self._running:
            while self._tasks and len(self._running) < 2 * self._threads:
                task = self._tasks.popleft()
                self._running[self._executor.submit(self._run, task)] = task
            done, _ = wait(self._running, timeout=0.2, return_when=FIRST_COMPLETED)
            self._tick()
            for future in done:
                task = self._running.pop(future)
                yield task, future.result()

    def _run(self, task: Any) -> Any:
        handler: Handler | None = getattr(self._local, "handler", None)
        if handler is None:
            handler = self._local.handler = self._make_handler()
        return handler(task, lambda _: None)

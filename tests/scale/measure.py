"""How long pages, a tick and a claim take, and how many queries each needs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from panel.accounts.models import User

SKIPPED = ("sign", "health", "logout", "export", "download", "backup_now")


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured: the best of several tries by the clock, and in processor time of page and database together
    (both in milliseconds), and the queries of one.

    On a machine that is busy with other things the clock measures those; then the processor time is judged.
    """

    name: str
    milliseconds: float
    limit: float
    work: float = 0.0
    queries: int = 0
    status: int = 200
    slowest: str = ""

    @property
    def missed(self) -> bool:
        """Whether it is too slow, or no answer at all."""
        judged = self.work if os.getloadavg()[0] > (os.cpu_count() or 1) else self.milliseconds
        return judged > self.limit or self.status >= 500

    def __str__(self) -> str:
        mark = "MISSED" if self.missed else "ok"
        took = f"{self.milliseconds:9.1f} ms, {self.work:7.1f} ms of work, of {self.limit:5.0f}"
        return f"{mark:7}{took}  {self.queries:3} queries  {self.status}  {self.name}"


def page(user: User, path: str, *, limit: float = 200.0, tries: int = 4) -> Figure:
    """Return what a page costs somebody."""
    client = Client(raise_request_exception=False, HTTP_HOST="localhost")
    client.force_login(user, backend="panel.accounts.backends.NameOrMailBackend")
    answer = client.get(path)
    if answer.status_code not in (200, 302):
        return Figure(f"{user.role:9} {path}", 0.0, limit, status=answer.status_code)
    best, work = _measured(lambda: client.get(path), tries)
    with CaptureQueriesContext(
        connection,
    ) as caught:
        client.get(path)
    worst = max(caught.captured_queries, key=lambda query: float(query["time"]), default={"sql": "", "time": "0"})
    slowest = f"{worst['time']} s: {worst['sql']}" if float(worst["time"]) > 0.02 else ""
    return Figure(f"{user.role:9} {path}", best, limit, work, len(caught), answer.status_code, slowest)


def best_of(
    name: str, limit: float, work: Callable[[], object], tries: int = 5, before: Callable[[], object] = lambda: None
) -> Figure:
    """Return what some work costs; ``before`` is called before each try and does not count."""
    best, spent = _measured(work, tries, before)
    return Figure(name, best, limit, spent)


def _measured(
    work: Callable[[], object], tries: int, prepare: Callable[[], object] = lambda: None
) -> tuple[float, float]:
    """Return the best time and the least processor time of several tries, in milliseconds."""
    with connection.cursor() as cursor:
        cursor.execute("SET max_parallel_workers_per_gather = 0")
        cursor.execute("SELECT pg_backend_pid()")
        database = int(cursor.fetchone()[0])
    spent = best = float("inf")
    for _ in range(tries):
        prepare()
        before, began = _spent(database), time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
        spent = min(spent, _spent(database) - before)
    return best * 1000, spent * 1000


def _spent(database: int) -> float:
    """Return the processor seconds of this process and of the database's for this connection."""
    try:
        theirs = int(Path(f"/proc/{database}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        theirs = 0.0
    return time.process_time() + theirs


def pages_without_numbers(*, forms: bool = False) -> list[str]:
    """Return the addresses of the pages that need no number; those of forms for new things if they are wanted."""
    found = []
    for name, pattern in _named(get_resolver().url_patterns, ""):
        if "<" in pattern or (pattern.endswith("new/") and not forms) or any(word in name for word in SKIPPED):
            continue
        found.append(reverse(name))
    return sorted(set(found))


def _named(patterns: list[object], space: str, prefix: str = "") -> Iterator[tuple[str, str]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{space}{pattern.namespace}:" if pattern.namespace else space
            yield from _named(pattern.url_patterns, inner, prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield space + pattern.name, prefix + str(pattern.pattern)

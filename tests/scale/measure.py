"""How long pages, a tick and a claim take, and how many queries each needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from panel.accounts.models import User

SKIPPED = ("sign", "health", "logout", "export", "download", "backup_now")


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured: the best of several tries, in milliseconds, and the queries of one."""

    name: str
    milliseconds: float
    limit: float
    queries: int = 0
    status: int = 200
    slowest: str = ""

    @property
    def missed(self) -> bool:
        """Whether it is too slow, or no answer at all."""
        return self.milliseconds > self.limit or self.status >= 500

    def __str__(self) -> str:
        mark = "MISSED" if self.missed else "ok"
        took = f"{self.milliseconds:9.1f} ms of {self.limit:6.0f}"
        return f"{mark:7}{took}  {self.queries:3} queries  {self.status}  {self.name}"


def page(user: User, path: str, *, limit: float = 200.0, tries: int = 4) -> Figure:
    """Return what a page costs somebody."""
    client = Client(raise_request_exception=False, HTTP_HOST="localhost")
    client.force_login(user, backend="panel.accounts.backends.NameOrMailBackend")
    answer = client.get(path)
    if answer.status_code not in (200, 302):
        return Figure(f"{user.role:9} {path}", 0.0, limit, status=answer.status_code)
    best = min(_timed(lambda: client.get(path)) for _ in range(tries))
    with CaptureQueriesContext(
        connection,
    ) as caught:
        client.get(path)
    worst = max(caught.captured_queries, key=lambda query: float(query["time"]), default={"sql": "", "time": "0"})
    slowest = f"{worst['time']} s: {worst['sql']}" if float(worst["time"]) > 0.02 else ""
    return Figure(f"{user.role:9} {path}", best * 1000, limit, len(caught), answer.status_code, slowest)


def best_of(name: str, limit: float, work: Callable[[], object], tries: int = 5) -> Figure:
    """Return what some work costs."""
    return Figure(name, min(_timed(work) for _ in range(tries)) * 1000, limit)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def pages_without_numbers() -> list[str]:
    """Return the addresses of all pages that need no number and are got, not posted."""
    found = []
    for name, pattern in _named(get_resolver().url_patterns, ""):
        if "<" in pattern or any(word in name for word in SKIPPED):
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

"""The content of files one after the other, in order, while threads read and open what comes next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple

from backups.engine.errors import Corrupt, EngineError
from backups.engine.fetch import fetch, locate, plain_length, reach_of
from backups.engine.ports import Entry
from backups.engine.records import Location
from backups.engine.repository import Repository

_ID = 32
_WINDOW = 8 * 1024 * 1024
"""Bytes, as they are plain, that one thread reads at once."""
_WINDOW_BLOBS = 4096
_NEAR_THREADS = 2
_FAR_THREADS = 4


@dataclass(slots=True)
class Item:
    """An item of an archive: a file with its content's ids, joined, or something without content.

    ``size`` is the sum of its blobs; ``same_as`` the earlier item it is another name of; ``failure`` says why
    it cannot be had.
    """

    path: bytes
    entry: Entry
    content: bytes = b""
    size: int = 0
    same_as: bytes = b""
    failure: Corrupt | None = None


class Part(NamedTuple):
    """Some consecutive blobs of an item: its first ones, its last ones, or both."""

    item: Item
    blobs: list[bytes | EngineError]
    first: bool
    last: bool


@dataclass(slots=True)
class _Window:
    parts: list[tuple[Item, list[bytes], bool, bool]] = field(default_factory=list)
    wanted: dict[bytes, Location] = field(default_factory=dict)
    size: int = 0
    blobs: int = 0

    def is_full(self) -> bool:
        return self.size >= _WINDOW or self.blobs >= _WINDOW_BLOBS


def measured(repository: Repository, item: Item) -> Item:
    """Set the size of an item's content, or the failure to come: a blob that no pack has."""
    try:
        for at in range(0, len(item.content), _ID):
            item.size += plain_length(locate(repository, item.content[at : at + _ID]))
    except Corrupt as error:
        item.failure, item.content = error, b""
    return item


class ReadAhead:
    """Reads the content of items in threads.  Use as a context manager; the index is loaded."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        capabilities = repository.store.capabilities
        far = min(capabilities.connections or _FAR_THREADS, _FAR_THREADS)
        self._threads = _NEAR_THREADS if capabilities.forkable else far
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="reader")

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def parts(self, items: Iterable[Item]) -> Iterator[Part]:
        """Yield the items in order, each in one part or several.  Raises StoreError."""
        under_way: deque[tuple[_Window, Future[dict[bytes, bytes | EngineError]]]] = deque()
        for window in self._windows(items):
            under_way.append((window, self._executor.submit(self._fetch, window)))
            if len(under_way) > self._threads:
                yield from _joined(*under_way.popleft())
        while under_way:
            yield from _joined(*under_way.popleft())

    def _windows(self, items: Iterable[Item]) -> Iterator[_Window]:
        window = _Window()
        for item in items:
            ids: list[bytes] = []
            first = True
            for at in range(0, len(item.content), _ID):
                blob_id = item.content[at : at + _ID]
                if blob_id not in window.wanted:
                    place = window.wanted[blob_id] = locate(self._repository, blob_id)
                    window.size += plain_length(place)
                ids.append(blob_id)
                window.blobs += 1
                if window.is_full() and at + _ID < len(item.content):
                    window.parts.append((item, ids, first, False))
                    yield window
                    window, ids, first = _Window(), [], False
            window.blobs += 1
            window.parts.append((item, ids, first, True))
            if window.is_full():
                yield window
                window = _Window()
        if window.parts:
            yield window

    def _fetch(self, window: _Window) -> dict[bytes, bytes | EngineError]:
        return dict(fetch(self._repository, window.wanted, reach_of(self._repository)))


def _joined(window: _Window, future: Future[dict[bytes, bytes | EngineError]]) -> Iterator[Part]:
    found = future.result()
    for item, ids, first, last in window.parts:
        yield Part(item, [found[blob_id] for blob_id in ids], first, last)

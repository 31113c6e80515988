"""Listing a tree of folders with several connections at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from destinations.storage.base import ObjectInfo

Listing = tuple[list[ObjectInfo], list[str]]
"""The objects directly in a folder, and the folders directly in it."""


def walk(list_folder: Callable[[str], Listing], start: str, workers: int) -> Iterator[ObjectInfo]:
    """Yield every object below the folder ``start``; up to ``workers`` folders are listed at the same time.

    The first folder is listed in the calling thread, and if there are no folders in it no thread is started.
    """
    infos, folders = list_folder(start)
    yield from infos
    if not folders:
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="list") as pool:
        running: set[Future[Listing]] = set()
        try:
            while folders or running:
                while folders and len(running) < 2 * workers:
                    running.add(pool.submit(list_folder, folders.pop()))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    found, below = future.result()
                    folders.extend(below)
                    yield from found
        finally:
            pool.shutdown(cancel_futures=True)

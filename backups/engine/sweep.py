"""Removes many objects at once, and tells which could not be removed."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from backups.engine.layout import Kind
from backups.engine.repository import Repository
from backups.engine.watch import Watch
from destinations.storage.errors import StoreError

_THREADS = 8


def sweep(repository: Repository, kind: Kind, object_ids: Collection[str], watch: Watch, item: str) -> list[str]:
    """Remove objects, several at a time where the storage allows it; return the ids of those still there.

    A failure is told to the watch.  Nothing is removed after Canceled or what else the watch raises.
    """
    names = sorted(object_ids)
    left: list[str] = []
    threads = min(repository.store.capabilities.connections or _THREADS, _THREADS, len(names))

    def remove(name: str) -> None:
        watch.check()
        try:
            repository.remove_object(kind, name)
        except StoreError as error:
            left.append(name)
            watch.problem(f"{kind}/{name}", error)

    if threads <= 1:
        for done, name in enumerate(names):
            watch.step(item, done=done, total=len(names))
            remove(name)
        return left
    with ThreadPoolExecutor(threads, thread_name_prefix="sweep") as pool:
        for done, _ in enumerate(pool.map(remove, names)):
            watch.step(item, done=done, total=len(names))
    return left

"""Makes the index say again what lies in the packs.

What is wrong or unknown is taken from the packs' own headers.  New index objects are stored before old ones go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from backups.engine.errors import Corrupt
from backups.engine.index_file import decode_index
from backups.engine.layout import DATA, INDEX
from backups.engine.pack import Entry, file_size
from backups.engine.reindex import rewrite_index
from backups.engine.repository import Repository
from backups.engine.watch import Watch
from destinations.storage.errors import ObjectMissing, ShortRead, StoreError

_READERS = 8


class IndexRepair(msgspec.Struct):
    """What was found and done; ids of packs and index objects."""

    damaged_indexes: list[str] = []
    missing_packs: list[str] = []
    """Named by the index but not there: they are dropped from it."""
    read_packs: list[str] = []
    """Unknown to the index or not as it said: entered anew from their headers."""
    unreadable_packs: list[str] = []
    """Those whose header does not open either: left out of the index."""
    written: list[str] = []
    removed: list[str] = []

    @property
    def changed(self) -> bool:
        """Whether the index was written anew."""
        return bool(self.written or self.removed)


class _Known(msgspec.Struct):
    """What the readable index objects say: the size each pack must have, and whether they agree on it."""

    sizes: dict[str, int] = {}
    content: dict[str, int] = {}
    disputed: set[str] = msgspec.field(default_factory=set)
    repeated: bool = False

    def add(self, name: str, entries: list[Entry]) -> None:
        content = hash(tuple(entries))
        if name in self.content:
            self.repeated = True
            if self.content[name] != content:
                self.disputed.add(name)
            return
        self.content[name] = content
        self.sizes[name] = file_size(entries)
        if not _is_contiguous(entries):
            self.disputed.add(name)


def _is_contiguous(entries: list[Entry]) -> bool:
    end = 0
    for entry in entries:
        if entry.offset != end:
            return False
        end += entry.length
    return True


def repair_index(repository: Repository, *, read_all_packs: bool = False, watch: Watch | None = None) -> IndexRepair:
    """Bring the index in line with the packs, under the exclusive lock; it need not be loaded, and is afterwards.

    ``read_all_packs`` believes no index and reads the header of every pack.  Raises StoreError with the old index
    still there.
    """
    watch = watch or Watch()
    result = IndexRepair()
    packs = repository.ids(DATA)
    known = _Known() if read_all_packs else _read_indexes(repository, result, watch)
    doubtful = [name for name, size in packs.items() if known.sizes.get(name) != size or name in known.disputed]
    result.missing_packs = sorted(known.sizes.keys() - packs.keys())
    obsolete = list(repository.ids(INDEX)) if read_all_packs else result.damaged_indexes
    if doubtful or result.missing_packs or obsolete or known.repeated:
        done = rewrite_index(
            repository,
            drop={*doubtful, *result.missing_packs},
            fresh=_headers(repository, [(name, packs[name]) for name in sorted(doubtful)], result, watch),
            obsolete=obsolete,
            watch=watch,
        )
        result.written, result.removed = done.written, done.removed
    repository.load_index()
    return result


def _read_indexes(repository: Repository, result: IndexRepair, watch: Watch) -> _Known:
    known = _Known()
    names = sorted(repository.ids(INDEX))
    for done, name in enumerate(names):
        watch.step("reading the index", done=done, total=len(names))
        try:
            packs = decode_index(repository.load_object(INDEX, name))
        except ObjectMissing:
            continue
        except Corrupt as error:
            result.damaged_indexes.append(name)
            watch.problem(f"index/{name}", error)
            continue
        for pack_id, entries in packs:
            known.add(pack_id.hex(), entries)
    return known


def _headers(
    repository: Repository, packs: list[tuple[str, int]], result: IndexRepair, watch: Watch
) -> Iterator[tuple[str, list[Entry]]]:
    """Yield (pack, entries) of every pack whose header opens; the others are noted and left out."""
    for done, (name, entries) in enumerate(_read_ahead(repository, packs)):
        watch.step("reading pack headers", done=done, total=len(packs))
        if isinstance(entries, Exception):
            result.unreadable_packs.append(name)
            watch.problem(f"data/{name}", entries)
        else:
            result.read_packs.append(name)
            yield name, entries


def _read_ahead(
    repository: Repository, packs: Iterable[tuple[str, int]]
) -> Iterator[tuple[str, list[Entry] | Exception]]:
    """Read headers with several requests under way, in the order given; one that seems damaged twice."""

    def read(name: str, size: int) -> list[Entry] | Exception:
        failure: Corrupt | StoreError | None = None
        for _ in range(2):
            try:
                return repository.read_header(name, size)
            except (Corrupt, ObjectMissing, ShortRead) as error:
                failure = error
        assert failure is not None
        if isinstance(failure, StoreError) and failure.temporary:
            raise failure
        return failure

    readers = min(repository.store.capabilities.connections or _READERS, _READERS)
    waiting: deque[tuple[str, Future[list[Entry] | Exception]]] = deque()
    with ThreadPoolExecutor(readers, thread_name_prefix="headers") as pool:
        for name, size in packs:
            waiting.append((name, pool.submit(read, name, size)))
            if len(waiting) > 2 * readers:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()

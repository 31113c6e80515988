"""The one interface every destination has: put, get a range, stat, list, delete.

``CONTRACT.md`` beside this file says what each method promises; ``tests/contract`` proves it for
every driver and wrapper.  A store knows nothing of repositories.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

from destinations.storage.places import Places

Buffer = bytes | bytearray | memoryview
Data = Buffer | Sequence[Buffer]
"""What is put: one buffer, or the parts of the object in order (so that nothing is joined first)."""


class ObjectInfo(NamedTuple):
    """A listed object: its key and its size in bytes."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do, as data; callers ask this value, never the kind."""

    connections: int = 2
    """How many calls at once make sense; 0 = no limit."""
    atomic_put: bool = True
    """A reader never sees half an object, even when the writer dies."""
    overwrite: bool = True
    """``put`` may replace an object in one step."""
    forkable: bool = False
    """A forked child may use the store by itself, with no shared connection or state."""
    lists_at_once: bool = False
    """What one program has put, every other's next listing shows; without it locks wait a moment to be sure."""
    verified_put: bool = True
    """The transfer is protected end to end (TLS, SSH, checksum, local disk); if not, the caller reads back."""


@runtime_checkable
class ObjectStore(Protocol):
    """A flat store of immutable-by-habit objects under ``/``-separated keys."""

    @property
    def capabilities(self) -> Capabilities: ...

    def put(self, key: str, data: Data) -> None:
        """Store the whole object or nothing; return when it is as durable as the kind allows.

        Replaces an existing object.  Repeating is harmless.  Raises StoreError.
        """

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` (to the end if None), or raise ShortRead / ObjectMissing."""

    def stat(self, key: str) -> int:
        """Return the size in bytes; ObjectMissing if absent."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object below ``prefix`` (a folder, "" for all), recursively, in no order.

        A missing folder lists as empty.  Temporary names of unfinished puts are left out.
        """

    def delete(self, key: str) -> None:
        """Absent afterwards; absent before is fine."""

    def close(self) -> None:
        """Free connections; twice is fine."""


@runtime_checkable
class PreparesFolders(Protocol):
    """A store whose kind has real folders and can make them ahead of the first put."""

    def prepare(self, folders: Iterable[str]) -> None: ...


@runtime_checkable
class ReportsCapacity(Protocol):
    """A store that knows how much room it has."""

    def capacity(self) -> tuple[int, int]:
        """Return (total bytes, free bytes)."""


@runtime_checkable
class HashesServerSide(Protocol):
    """A store that can name the SHA-256 of an object without sending it."""

    def sha256(self, key: str) -> str | None:
        """Return the hex digest, or None where this object has none."""


@dataclass(frozen=True, slots=True)
class LockPolicy:
    """What a storage's object lock is set to."""

    enabled: bool = False
    default_mode: str = ""
    """Retention that every new object gets, ``locks/`` too: then nobody can remove a lock in time."""
    default_days: int = 0


@runtime_checkable
class LocksObjects(Protocol):
    """A store whose storage may be able to keep an object from being changed or deleted until a date."""

    def lock_policy(self) -> LockPolicy:
        """Return what object lock is set to."""

    def lock_until(self, key: str, until: datetime) -> None:
        """Protect the object until then; an earlier end than the present one is refused by the storage."""


@runtime_checkable
class CountsRequests(Protocol):
    """A store that counts what it asks of its server: commands, packets or HTTP requests."""

    def requests(self) -> int:
        """Return the number since the store was made, in this process."""


@runtime_checkable
class Connects(Protocol):
    """A store that can show how it gets to its server, one step after the other."""

    connect_steps: tuple[str, ...]

    def connect_step_by_step(self) -> Iterator[str]:
        """Do each of ``connect_steps`` in turn and yield what to say about it; raise StoreError at one that fails."""


@runtime_checkable
class ShowsCertificate(Protocol):
    """A store that can fetch its server's certificate without trusting it, so that it can be confirmed and pinned."""

    def certificate(self) -> str:
        """Return the SHA-256 of the certificate, 64 hex digits; "" if there is no TLS."""


class Pace(Protocol):
    """Slows transfers down: a driver asks before it sends and after it received each block."""

    def up(self, count: int) -> None:
        """Wait until ``count`` more bytes may be sent."""

    def down(self, count: int) -> None:
        """Wait until ``count`` bytes just received are within the limit."""

    def up_block(self, default: int) -> int:
        """Return how much to send at once, at most ``default``."""

    def down_block(self, default: int) -> int:
        """Return how much to receive at once, at most ``default``."""


@runtime_checkable
class SharesConnections(Protocol):
    """A store whose connections can be counted together with those of other processes."""

    def share_connections(self, places: Places) -> None: ...


@runtime_checkable
class AcceptsPace(Protocol):
    """A store that moves its bytes in blocks and lets a pace slow each of them."""

    def set_pace(self, pace: Pace | None) -> None: ...


def parts_of(data: Data) -> list[memoryview]:
    """Return ``data`` as a list of byte views."""
    if isinstance(data, bytes | bytearray | memoryview):
        return [memoryview(data).cast("B")]
    return [memoryview(part).cast("B") for part in data]


def size_of(data: Data) -> int:
    """Return the number of bytes in ``data``."""
    return sum(part.nbytes for part in parts_of(data))


def blocks_of(parts: Iterable[memoryview], size: int) -> Iterator[memoryview]:
    """Yield ``parts`` cut into blocks of at most ``size`` bytes; small parts are not joined."""
    for part in parts:
        for start in range(0, part.nbytes, size):
            yield part[start : start + size]

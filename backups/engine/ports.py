"""What the engine asks of the world: something to read, somewhere to write, somebody to tell.

Names are raw bytes throughout.  Times are nanoseconds since the epoch, sizes bytes, modes ``st_mode``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from backups.engine.errors import Canceled

EntryKind = Literal["file", "dir", "symlink", "dev", "chardev", "fifo"]


class Entry(msgspec.Struct, gc=False):
    """One item of a folder, as it was listed."""

    name: bytes
    kind: EntryKind
    mode: int
    mtime: int
    ctime: int
    uid: int = 0
    gid: int = 0
    inode: int = 0
    device: int = 0
    size: int = 0
    links: int = 0
    rdev: int = 0
    target: bytes = b""
    xattrs: Sequence[tuple[bytes, bytes | None]] = ()
    named: bool = True
    """Whether user and group names are looked up for uid and gid."""


class SourceFile(Protocol):
    """An open file of a source."""

    entry: Entry
    """What the open file says of itself, taken before its first byte was read."""

    def read(self, size: int) -> bytes:
        """Return up to ``size`` next bytes, b"" only at the end.  OSError on failure."""

    def changed(self) -> bool:
        """Tell whether the file was written to since it was opened, so that what was read may be no single state."""

    def close(self) -> None:
        """Free it.  Raises SourceProblem if what was read turns out not to be whole (a dump that failed)."""


class SourceFolder(Protocol):
    """An open folder of a source.

    What cannot be read is reported through the source's problem callback and left out; a folder or file
    that vanished since it was listed raises FileNotFoundError from ``open`` and ``enter``.
    """

    entry: Entry

    def entries(self) -> list[Entry]:
        """Return the items, sorted by name as bytes; without sockets."""

    def open(self, entry: Entry) -> SourceFile:
        """Open a file that was listed.  Raises OSError, SourceProblem."""

    def enter(self, entry: Entry) -> SourceFolder:
        """Open a folder that was listed.  Raises OSError, SourceProblem."""

    def close(self) -> None:
        """Free it; twice is fine."""


class Source(Protocol):
    """Something to back up: a tree of folders below a root that has no entry of its own.

    After fork a child may use the source by itself.
    """

    def root(self, problem: Callable[[bytes, Exception], None]) -> SourceFolder:
        """Open the root.  ``problem(path, error)`` is told of every item that has to be left out."""


class CancelToken:
    """Set from anywhere, a signal handler included; the engine looks at it between blobs."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the run to stop."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether somebody asked."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise Canceled if somebody asked."""
        if self._event.is_set():
            raise Canceled("stopped on request")


class Progress(Protocol):
    """Told how far a run is; called at most a few times a second.  All figures are totals so far."""

    def update(self, *, files: int = 0, bytes: int = 0, total_files: int = 0, total_bytes: int = 0, item: str = "") -> None:
        """Take the figures: items and bytes done, items and bytes expected (0 = unknown), what is being done."""

    def problem(self, path: str, message: str) -> None:
        """Take one item that was left out or failed, with the reason."""


class Silent:
    """A Progress that keeps the problems and shows nothing."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []

    def update(self, *, files: int = 0, bytes: int = 0, total_files: int = 0, total_bytes: int = 0, item: str = "") -> None:
        """Show nothing."""

    def problem(self, path: str, message: str) -> None:
        """Remember it."""
        self.problems.append((path, message))

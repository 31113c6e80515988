"""What the engine asks of the world: something to read, somewhere to write, somebody to tell.

Names are raw bytes throughout.  Times are nanoseconds since the epoch, sizes bytes, modes ``st_mode``.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from backups.engine.errors import Canceled

EntryKind = Literal["file", "dir", "symlink", "dev", "chardev", "fifo"]
ENTRY_KINDS: dict[int, EntryKind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFBLK: "dev",
    stat.S_IFCHR: "chardev",
    stat.S_IFIFO: "fifo",
}
"""The kind of an entry by the type bits of its mode; others are never stored."""


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
    atime: int | None = None
    """When it was last read; None stands for ``mtime``."""


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
        """Return the items, sorted by name as bytes; without sockets, and without extended attributes."""

    def xattrs(self, entry: Entry) -> Sequence[tuple[bytes, bytes | None]]:
        """Return the extended attributes of an item that is neither opened nor entered.  Raises OSError."""

    def open(self, entry: Entry) -> SourceFile:
        """Open a file that was listed; its entry has the extended attributes.  Raises OSError, SourceProblem."""

    def slurp(self, entry: Entry, limit: int) -> tuple[Entry, bytes] | None:
        """Read a small file in one go: its entry as :meth:`open` would give it, and its content.

        None if it is larger than ``limit`` bytes, is being written to, or cannot be read this way; then
        :meth:`open` it.  Raises OSError, SourceProblem.
        """

    def enter(self, entry: Entry) -> SourceFolder:
        """Open a folder that was listed; its entry has the extended attributes.  Raises OSError, SourceProblem."""

    def close(self) -> None:
        """Free it; twice is fine."""


class Source(Protocol):
    """Something to back up: a tree of folders below a root that has no entry of its own.

    After fork a child may use the source by itself.
    """

    def root(self, problem: Callable[[bytes, Exception], None]) -> SourceFolder:
        """Open the root.  ``problem(path, error)`` is told of every item that has to be left out."""


Selector = Callable[[bytes, bool], tuple[bool, bool]]
"""Asked for the path of an item (``a/b``, below what is restored) and whether it is a folder.

Answers whether it is wanted, and whether something below it may be.
"""


class Found(NamedTuple):
    """What stands under a name in a target.  ``kind`` is "other" for what no repository holds."""

    kind: str
    size: int
    mtime: int


class OldFile(Protocol):
    """A file that stood in the target before, open for reading."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes; fewer where the file ends.  OSError."""

    def close(self) -> None:
        """Free it; twice is fine."""


class TargetFile(Protocol):
    """A file on its way into a target: nobody sees it under its name before it is finished."""

    token: bytes
    """What another process gives to :meth:`TargetFolder.join` to write to the same file."""

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of ``data``.  OSError."""

    def read(self, offset: int, length: int) -> bytes:
        """Read back what was written.  OSError."""

    def finish(self, entry: Entry) -> None:
        """Give it its metadata, then its name, in the place of any file of that name.  OSError, TargetProblem."""

    def close(self) -> None:
        """Free it.  What was not finished vanishes, unless the file was joined; twice is fine."""


class TargetFolder(Protocol):
    """An open folder of a target.  All its methods raise OSError or TargetProblem."""

    fresh: bool
    """Nothing stood in it: this restore made it."""

    def found(self) -> dict[bytes, Found]:
        """Return what stands in it, by name."""

    def old_file(self, name: bytes) -> OldFile:
        """Open a file that was found."""

    def create(self, entry: Entry, size: int | None = None, *, shared: bool = False) -> TargetFile:
        """Begin a file; ``size`` sets its length ahead of the writing.  ``shared``: other processes will join."""

    def put(self, entry: Entry, data: bytes) -> None:
        """Make a whole file at once."""

    def join(self, token: bytes) -> TargetFile:
        """Open a file that another process created as shared, to write to it; never to finish it."""

    def update(self, entry: Entry) -> bool:
        """Give a file of equal content the entry's metadata; False if it has to be replaced for that."""

    def make(self, entry: Entry) -> bool:
        """Make a link, device or pipe in the place of any file of its name; False if the target leaves such out."""

    def make_folder(self, name: bytes) -> bool:
        """See that there is a real folder of this name; True if it was made.  A link in its place is replaced."""

    def link(self, name: bytes, first: bytes) -> None:
        """Make ``name`` another name of the file at the path ``first`` of the target."""

    def remove(self, name: bytes) -> int:
        """Remove an item, a folder with all that is in it; links are never followed.  Return how many went."""

    def finish(self, entry: Entry) -> None:
        """Give the folder itself its metadata."""

    def close(self) -> None:
        """Free it; twice is fine."""


class Target(Protocol):
    """Somewhere to restore to, its files written at any offset and in any order."""

    forkable: bool
    """Forked children may use it, all at once."""

    def folder(self, path: bytes, *, fresh: bool = False) -> TargetFolder:
        """Open the folder at ``path`` (``a/b``, empty for the top).  ``fresh`` says that this restore made it.

        Raises FileNotFoundError, OSError or TargetProblem; no link is ever followed.
        """

    def close(self) -> None:
        """Free it; twice is fine."""


class Archive(Protocol):
    """An archive being written from its first byte to its last."""

    holds_links: bool
    """Whether an item can be another name of an earlier one; if not, its content is given again."""

    def add(
        self, path: bytes, entry: Entry, *, size: int = 0, data: Iterable[bytes] = (), same_as: bytes = b""
    ) -> None:
        """Append an item: ``size`` bytes that ``data`` yields, or another name for the earlier item ``same_as``.

        Raises OSError when it cannot be written, TargetProblem if the archive's format cannot hold the item.
        """

    def close(self) -> None:
        """Write what stands at the end.  An archive that was not closed is not whole."""


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

    def update(
        self, *, files: int = 0, bytes: int = 0, total_files: int = 0, total_bytes: int = 0, item: str = ""
    ) -> None:
        """Take the figures: items and bytes done, items and bytes expected (0 = unknown), what is being done."""

    def problem(self, path: str, message: str) -> None:
        """Take one item that was left out or failed, with the reason."""


class Silent:
    """A Progress that keeps the problems and shows nothing."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []

    def update(
        self, *, files: int = 0, bytes: int = 0, total_files: int = 0, total_bytes: int = 0, item: str = ""
    ) -> None:
        """Show nothing."""

    def problem(self, path: str, message: str) -> None:
        """Remember it."""
        self.problems.append((path, message))

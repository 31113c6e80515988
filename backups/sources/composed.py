"""Folders that exist only in a backup, and files that are streams: a database dump, standard input."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from backups.engine import Entry, SourceFile, SourceFolder, SourceProblem

Problem = Callable[[bytes, Exception], None]


class Member(Protocol):
    """Something a virtual folder can hold."""

    entry: Entry


class Stream(Protocol):
    """What a stream file reads from."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None:
        """Raises SourceProblem if what was read is not whole."""


class StreamFile:
    """A file whose content is produced while it is read; its size is not known before.

    ``start`` opens the stream, in whatever process reads it.  Modes and owner are those given; times are
    ``mtime`` (nanoseconds).
    """

    def __init__(
        self,
        name: bytes,
        start: Callable[[], Stream],
        *,
        mtime: int,
        mode: int = 0o644,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        self.entry = Entry(
            name=name,
            kind="file",
            mode=stat.S_IFREG | mode,
            mtime=mtime,
            ctime=mtime,
            uid=os.getuid() if uid is None else uid,
            gid=os.getgid() if gid is None else gid,
            named=False,
        )
        self._start = start

    def open(self) -> SourceFile:
        """Start the stream."""
        return _OpenStream(self.entry, self._start())


class _OpenStream:
    def __init__(self, entry: Entry, stream: Stream) -> None:
        self.entry = entry
        self._stream = stream

    def read(self, size: int) -> bytes:
        return self._stream.read(size) or b""

    def changed(self) -> bool:
        return False

    def close(self) -> None:
        self._stream.close()


class VirtualFolder:
    """A folder made of members: real folders, stream files, or further virtual folders.

    ``entry`` is its own metadata; the root of a source needs none that matters.
    """

    def __init__(
        self, entry: Entry, members: Mapping[bytes, Member], enter: Callable[[bytes], SourceFolder] | None = None
    ):
        self.entry = entry
        self._members = dict(sorted(members.items()))
        self._enter = enter

    @classmethod
    def plain(
        cls, name: bytes, members: list[Member], *, mtime: int, mode: int = 0o755, uid: int = 0, gid: int = 0
    ) -> VirtualFolder:
        """Return a folder with given metadata and the members under their own names."""
        entry = Entry(
            name=name, kind="dir", mode=stat.S_IFDIR | mode, mtime=mtime, ctime=mtime, uid=uid, gid=gid, named=False
        )
        return cls(entry, {member.entry.name: member for member in members})

    def entries(self) -> list[Entry]:
        """Return the members' entries."""
        return [member.entry for member in self._members.values()]

    def xattrs(self, entry: Entry) -> Sequence[tuple[bytes, bytes | None]]:
        """Return what the member said of itself."""
        return self._members[entry.name].entry.xattrs

    def open(self, entry: Entry) -> SourceFile:
        """Open a stream file, or a real file that is a member."""
        member = self._members[entry.name]
        opener = getattr(member, "open", None)
        if entry.kind != "file" or opener is None:
            raise SourceProblem("is not a file any more")
        opened: SourceFile = opener()
        return opened

    def slurp(self, entry: Entry, limit: int) -> tuple[Entry, bytes] | None:
        """Leave members to :meth:`open`."""
        return None

    def enter(self, entry: Entry) -> SourceFolder:
        """Return a member folder."""
        member = self._members[entry.name]
        if isinstance(member, VirtualFolder):
            return member
        opener = getattr(member, "enter_self", None)
        if opener is None:
            raise SourceProblem("is not a folder any more")
        folder: SourceFolder = opener()
        return folder

    def close(self) -> None:
        """Nothing to free."""


class ComposedSource:
    """A source whose root is a virtual folder."""

    def __init__(self, members: Callable[[Problem], list[Member]]) -> None:
        self._members = members

    def root(self, problem: Problem) -> SourceFolder:
        """Return the root folder with the members made anew."""
        return VirtualFolder.plain(b"", self._members(problem), mtime=0)

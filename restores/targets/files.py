"""Open files of a folder target: one that stood there before, and one on its way."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from errno import EINVAL, EISDIR, ELOOP, ENOTSUP

from backups.engine import Entry, TargetProblem
from restores.targets.metadata import Metadata
from restores.targets.naming import drop_name, give_name, take_name, temporary_name
from restores.targets.paths import checked_name

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_JOIN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NAMED = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNNAMED = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_NO_UNNAMED = {ENOTSUP, EISDIR, EINVAL}
_PRIVATE = 0o600


class OldContent:
    """A regular file as it stands in the target."""

    def __init__(self, folder: int, name: bytes) -> None:
        """Open it, whatever was put in its place meanwhile: no link is followed, no pipe waited for."""
        try:
            self.fd = os.open(checked_name(name), _READ, dir_fd=folder)
        except OSError as error:
            if error.errno == ELOOP:
                raise TargetProblem("became a link while it was compared") from error
            raise
        self.info = os.fstat(self.fd)
        self.size = self.info.st_size
        if not stat.S_ISREG(self.info.st_mode):
            self.close()
            raise TargetProblem("became something else while it was compared")

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes."""
        return os.pread(self.fd, length, offset)

    def close(self) -> None:
        """Close it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


Lift = Callable[[], AbstractContextManager[object]]
"""Gives the right to change what is in a folder, for a moment."""


def no_lift() -> AbstractContextManager[object]:
    """Do without: the rights that are there suffice."""
    return nullcontext()


def owner_of_new(folder: int, lift: Lift = no_lift) -> int:
    """Return the user that owns what this process makes in a folder; some network file systems choose another one."""
    name = temporary_name()
    with lift():
        try:
            fd = os.open(name, _NAMED, _PRIVATE, dir_fd=folder)
        except OSError:
            return os.geteuid()
        try:
            return os.fstat(fd).st_uid
        finally:
            os.close(fd)
            drop_name(folder, name)


class Birthplace:
    """Where new files are made: a folder's descriptor, and what its files are like at first.

    ``owner`` is whose they are; ``clean`` says that they inherit no access list, ``unnamed`` that the file
    system makes files without a name.  ``lift`` stands around whatever changes the folder.
    """

    __slots__ = ("clean", "folder", "lift", "metadata", "owner", "unnamed")

    def __init__(
        self,
        folder: int,
        metadata: Metadata,
        owner: tuple[int, int],
        *,
        clean: bool,
        unnamed: bool,
        lift: Lift = no_lift,
    ) -> None:
        self.folder, self.metadata, self.owner, self.lift = folder, metadata, owner, lift
        self.clean, self.unnamed = clean, unnamed


class NewFile:
    """A file nobody sees yet: it has no name, or a temporary one where it must be shared or the system needs it."""

    __slots__ = ("_created", "_fd", "_name", "_place", "token")

    def __init__(self, place: Birthplace, size: int | None = None, *, shared: bool = False) -> None:
        self._place = place
        self._created = True
        self._name = b""
        self._fd = -1 if shared or not place.unnamed else open_unnamed(place)
        if self._fd < 0:
            self._name = temporary_name()
            with place.lift():
                self._fd = os.open(self._name, _NAMED, _PRIVATE, dir_fd=place.folder)
        info = os.fstat(self._fd) if shared else None
        self.token = b"%d:%d:%s" % (info.st_dev, info.st_ino, self._name) if info else b""
        if size:
            try:
                os.ftruncate(self._fd, size)
            except BaseException:
                self.close()
                raise

    @classmethod
    def joined(cls, place: Birthplace, token: bytes) -> NewFile:
        """Open a shared file; TargetProblem if its name leads to any other one by now."""
        device, inode, name = token.split(b":", 2)
        file = cls.__new__(cls)
        file._place, file._created, file._name, file.token = place, False, name, token
        file._fd = os.open(checked_name(name), _JOIN, dir_fd=place.folder)
        info = os.fstat(file._fd)
        if (info.st_dev, info.st_ino) != (int(device), int(inode)):
            file.close()
            raise TargetProblem("a temporary file was replaced while it was being written")
        return file

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of ``data``."""
        written = os.pwrite(self._fd, data, offset)
        while written < len(data):
            written += os.pwrite(self._fd, memoryview(data)[written:], offset + written)

    def read(self, offset: int, length: int) -> bytes:
        """Read back."""
        return os.pread(self._fd, length, offset)

    def finish(self, entry: Entry) -> None:
        """Give it its metadata, then its name.  Attributes that cannot be set are told after it has its name."""
        place = self._place
        name = checked_name(entry.name)
        lacking = place.metadata.apply(self._fd, entry, place.owner, clean=place.clean)
        with place.lift():
            if self._name:
                temporary, self._name = self._name, b""
                take_name(place.folder, temporary, place.folder, name)
            else:
                give_name(place.folder, self._fd, name)
        self.close()
        if lacking is not None:
            raise lacking

    def close(self) -> None:
        """Let go of it; if it was made here and not finished, it is gone."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._name and self._created:
            with self._place.lift():
                drop_name(self._place.folder, self._name)
            self._name = b""


def open_unnamed(place: Birthplace) -> int:
    """Return a descriptor of a new file without a name, or -1 where the file system makes no such files."""
    try:
        with place.lift():
            return os.open(b".", _UNNAMED, _PRIVATE, dir_fd=place.folder)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
        place.unnamed = False
        return -1


def put(place: Birthplace, entry: Entry, data: bytes) -> None:
    """Make a whole file: what :class:`NewFile` does in steps, in one go for the many small ones."""
    fd = open_unnamed(place) if place.unnamed else -1
    if fd < 0:
        file = NewFile(place)
        try:
            file.write(data, 0)
            file.finish(entry)
        finally:
            file.close()
        return
    try:
        written = os.write(fd, data)
        while written < len(data):
            written += os.write(fd, data[written:])
        lacking = place.metadata.apply(fd, entry, place.owner, clean=place.clean)
        with place.lift():
            give_name(place.folder, fd, checked_name(entry.name))
    finally:
        os.close(fd)
    if lacking is not None:
        raise lacking

"""A folder of this machine: temporary file, fsync, rename, fsync of the folder.

A killed writer leaves its temporary file behind.  A listing notices such files, and the next call that changes
something removes those older than a day: no writer is at one object for so long, and one that were would start again.
"""

# Plain strings and os calls: this is the inner loop of local backups.
# ruff: noqa: PTH100, PTH101, PTH102, PTH104, PTH108, PTH116, PTH120

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from destinations.storage.base import Capabilities, Data, ObjectInfo, Pace, blocks_of, parts_of
from destinations.storage.errors import (
    AccessDenied,
    BadConfig,
    ObjectMissing,
    ReadOnlyStore,
    ShortRead,
    StoreError,
    StoreFull,
    StoreUnreachable,
)
from destinations.storage.names import check_key, check_prefix, check_range, is_key, temporary_name

_PARTS_A_CALL = 1024
_BLOCK = 1 << 20
_LEFTOVER = re.compile(r"[a-z0-9_][a-z0-9._-]*-tmp-[0-9]{1,20}", re.ASCII)
_LEFT_SECONDS = 86_400
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOTTY, errno.ENOSYS}
_BY_ERRNO: dict[int, tuple[type[StoreError], str]] = {
    errno.ENOENT: (ObjectMissing, "is not there"),
    errno.ENOSPC: (StoreFull, "the disk is full"),
    errno.EDQUOT: (StoreFull, "the disk quota is used up"),
    errno.EACCES: (AccessDenied, "the file system denies access"),
    errno.EPERM: (AccessDenied, "the file system does not permit it"),
    errno.EROFS: (ReadOnlyStore, "the file system is mounted read-only"),
    errno.ENOTDIR: (BadConfig, "a part of the path is not a folder"),
    errno.EISDIR: (BadConfig, "there is a folder of this name"),
    errno.ENAMETOOLONG: (BadConfig, "the path is too long"),
    errno.ELOOP: (BadConfig, "the path has a loop of links"),
    errno.EIO: (StoreUnreachable, "the disk reports an error"),
    errno.ESTALE: (StoreUnreachable, "the network file system lost the file"),
    errno.ENODEV: (StoreUnreachable, "the disk is gone"),
    errno.ENXIO: (StoreUnreachable, "the disk is gone"),
    errno.ETIMEDOUT: (StoreUnreachable, "the network file system does not answer"),
}


# Inside the class, ``list`` is the method.
_Infos = list[ObjectInfo]
_Names = list[str]
_Parts = list[memoryview]


class _Modes(NamedTuple):
    """Permission bits of folders, of files being written, and of finished files."""

    folder: int
    writing: int
    finished: int


_PRIVATE = _Modes(0o700, 0o600, 0o400)
_GROUP = _Modes(0o770, 0o660, 0o440)


class LocalStore:
    """Objects as files below a folder.  Safe to use from several threads and, by itself, in forked children."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Use the folder ``path``; it need not exist until something is put."""
        self._root = os.path.abspath(path)
        self._modes: dict[str, _Modes] = {}
        self._pace: Pace | None = None
        self._leftovers: set[str] = set()
        """Temporary files that listings have met, by path."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(connections=2, forkable=True, lists_at_once=True)

    def set_pace(self, pace: Pace | None) -> None:
        """Slow reading and writing down with ``pace``."""
        self._pace = pace

    def put(self, key: str, data: Data) -> None:
        """Write the object under a temporary name, make it durable, rename it."""
        final = self._path(check_key(key))
        with _translated(key):
            self._sweep()
            try:
                self._write(final, data)
            except FileNotFoundError:
                self._modes.clear()
                self._write(final, data)

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the range; ObjectMissing, ShortRead."""
        check_range(offset, length)
        with _translated(key), self._opened(key) as (file, size):
            end = size if length is None else offset + length
            if end > size or offset > size:
                raise ShortRead(f"{key} has {size} bytes, not {max(end, offset)}", key=key)
            whole = self._read(file, offset, end - offset)
        if len(whole) != end - offset:
            raise ShortRead(f"{key} became shorter while it was read", key=key)
        return whole

    def stat(self, key: str) -> int:
        """Return the size in bytes; ObjectMissing."""
        with _translated(key):
            found = os.stat(self._path(check_key(key)))
        if not stat.S_ISREG(found.st_mode):
            raise ObjectMissing(f"{key} is not a file", key=key)
        return found.st_size

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the files below the folder; links and foreign names are left out."""
        folder = check_prefix(prefix)
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            infos, folders = self._scan(here)
            waiting.extend(folders)
            yield from infos

    def delete(self, key: str) -> None:
        """Remove the file if it is there."""
        with _translated(key), suppress(FileNotFoundError):
            self._sweep()
            os.unlink(self._path(check_key(key)))

    def prepare(self, folders: Iterable[str]) -> None:
        """Make the root and each of ``folders`` below it."""
        with _translated(""):
            changed: set[str] = set()
            self._modes_of(self._root, changed)
            for folder in folders:
                name = check_prefix(folder)
                self._modes_of(self._path(name) if name else self._root, changed)
            for folder in changed:
                _sync_folder(folder)

    def capacity(self) -> tuple[int, int]:
        """Return (total, free) bytes of the file system that holds, or would hold, the root."""
        place = Path(self._root)
        while not place.exists() and place != place.parent:
            place = place.parent
        with _translated(""):
            found = os.statvfs(place)
        return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Nothing to free: no file stays open."""

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _write(self, final: str, data: Data) -> None:
        folder = os.path.dirname(final)
        modes = self._modes_of(folder)
        temporary = temporary_name(final)
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, modes.writing)
        try:
            try:
                self._fill(file, parts_of(data))
                with suppress(OSError):
                    os.fchmod(file, modes.finished)
                _sync(file)
            finally:
                os.close(file)
            os.rename(temporary, final)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(folder)

    def _sweep(self) -> None:
        """Remove what writers that were killed have left; what cannot be removed is no reason to fail."""
        if not self._leftovers:
            return
        found, self._leftovers = self._leftovers, set()
        oldest = time.time() - _LEFT_SECONDS
        for path in found:
            with suppress(OSError):
                state = os.lstat(path)
                if stat.S_ISREG(state.st_mode) and max(state.st_mtime, state.st_ctime) < oldest:
                    os.unlink(path)

    def _fill(self, file: int, parts: _Parts) -> None:
        if self._pace is None:
            _write_parts(file, parts)
            return
        for block in blocks_of(parts, self._pace.up_block(_BLOCK)):
            self._pace.up(block.nbytes)
            _write_parts(file, [block])

    def _read(self, file: int, offset: int, length: int) -> bytes:
        if self._pace is None:
            whole = os.pread(file, length, offset)
            if len(whole) == length:
                return whole
            parts = [whole]
        else:
            parts = []
        have = sum(map(len, parts))
        step = _BLOCK if self._pace is None else self._pace.down_block(_BLOCK)
        while have < length and (part := os.pread(file, min(step, length - have), offset + have)):
            if self._pace is not None:
                self._pace.down(len(part))
            parts.append(part)
            have += len(part)
        return b"".join(parts)

    @contextmanager
    def _opened(self, key: str) -> Iterator[tuple[int, int]]:
        # O_NONBLOCK: opening must not wait for the other end of a pipe that somebody put here.
        file = os.open(self._path(check_key(key)), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise ObjectMissing(f"{key} is not a file", key=key)
            yield file, found.st_size
        finally:
            os.close(file)

    def _scan(self, folder: str) -> tuple[_Infos, _Names]:
        start = f"{folder}/" if folder else ""
        infos: _Infos = []
        folders: _Names = []
        with _translated(folder):
            try:
                entries = os.scandir(self._path(folder) if folder else self._root)
            except (FileNotFoundError, NotADirectoryError):
                return infos, folders
            with entries:
                for entry in entries:
                    key = start + entry.name
                    if not is_key(key):
                        if _LEFTOVER.fullmatch(entry.name):
                            self._leftovers.add(entry.path)
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(key)
                    elif entry.is_file(follow_symlinks=False):
                        with suppress(FileNotFoundError):
                            infos.append(ObjectInfo(key, entry.stat(follow_symlinks=False).st_size))
        return infos, folders

    def _modes_of(self, folder: str, changed: set[str] | None = None) -> _Modes:
        """Return the modes to use in ``folder``, after making sure that it exists.

        The folders that got a new one in them are made durable, or noted in ``changed`` for the caller to do so.
        """
        known = self._modes.get(folder)
        if known is None:
            known = self._find_modes(folder)
            above = _make_folder(folder, known.folder)
            if changed is not None:
                changed.update(above)
            else:
                for each in above:
                    _sync_folder(each)
            self._modes[folder] = known
        return known

    def _find_modes(self, folder: str) -> _Modes:
        """The nearest ``config`` at or above decides: readable by the group means shared with the group."""
        while len(folder) >= len(self._root):
            with suppress(FileNotFoundError, NotADirectoryError):
                return _GROUP if os.stat(f"{folder}/config").st_mode & stat.S_IRGRP else _PRIVATE
            folder = os.path.dirname(folder)
        return _PRIVATE


def _make_folder(folder: str, mode: int) -> list[str]:
    """Make a folder and what is missing above it; return the folders that have something new in them."""
    try:
        os.mkdir(folder, mode)
    except FileExistsError:
        return []
    except FileNotFoundError:
        return [*_make_folder(os.path.dirname(folder), mode), *_make_folder(folder, mode)]
    have = stat.S_IMODE(os.stat(folder).st_mode)
    if have & 0o777 != mode:
        os.chmod(folder, mode | have & 0o7000)
    return [os.path.dirname(folder)]


def _write_parts(file: int, parts: list[memoryview]) -> None:
    for start in range(0, len(parts), _PARTS_A_CALL):
        batch = parts[start : start + _PARTS_A_CALL]
        missing = sum(part.nbytes for part in batch)
        while missing:
            written = os.writev(file, batch)
            missing -= written
            if missing:
                batch = _after(batch, written)


def _after(parts: list[memoryview], count: int) -> list[memoryview]:
    """Return what is left of ``parts`` after their first ``count`` bytes."""
    for index, part in enumerate(parts):
        if count < part.nbytes:
            return [part[count:], *parts[index + 1 :]]
        count -= part.nbytes
    return []


def _sync(file: int) -> None:
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _sync_folder(folder: str) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(file)
    finally:
        os.close(file)


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind, text = _BY_ERRNO.get(error.errno or 0, (StoreError, error.strerror or type(error).__name__))
        raise kind(f"{key or 'the folder'}: {text}", key=key) from error

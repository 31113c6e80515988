"""An SSH server with SFTP.

A killed writer leaves its temporary file behind.  A listing notices those older than a day, and the next call that
changes something removes them.
"""

from __future__ import annotations

import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from destinations.storage.base import Capabilities, Data, ObjectInfo, Pace, blocks_of, parts_of
from destinations.storage.config import SftpConfig
from destinations.storage.errors import (
    AccessDenied,
    CapacityUnknown,
    FolderNotWritable,
    ObjectMissing,
    QuotaExceeded,
    ShortRead,
    StoreError,
    StoreFull,
    TransferDamaged,
)
from destinations.storage.names import LEFT_SECONDS, check_key, check_prefix, check_range, is_key, is_leftover
from destinations.storage.places import Places
from destinations.storage.pool import Pool, Tally
from destinations.storage.sftp_link import SftpLink
from destinations.storage.sftp_wire import (
    FAILURE,
    NO_SUCH_FILE,
    OK,
    PERMISSION_DENIED,
    Attributes,
    Entry,
    Status,
)
from destinations.storage.walk import Listing, walk

_BLOCK = 32 << 10
_SMALL = 64 << 20


class SftpStore:
    """Objects as files below a folder of an SSH server.  Safe to use from several threads."""

    connect_steps = ("connect", "check the identity", "log in", "open SFTP")

    def __init__(self, config: SftpConfig) -> None:
        """Use the server of ``config``; nothing is connected yet."""
        self._config = config
        root = config.path.rstrip("/")
        self._root = root or ("/" if config.path else "")
        self._pace: Pace | None = None
        self._tally = Tally()
        self._modes: tuple[int, int] | None = None
        self._no_rename_over = False
        self._leftovers: list[bytes] = []
        self._of_the_killed: set[bytes] = set()
        self._pool: Pool[SftpLink] = Pool(self._connect, config.connections)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(connections=self._config.connections, overwrite=not self._no_rename_over)

    def set_pace(self, pace: Pace | None) -> None:
        """Slow transfers down with ``pace``."""
        self._pace = pace

    def requests(self) -> int:
        """Return the number of SFTP requests sent."""
        return self._tally.value

    def connect_step_by_step(self) -> Iterator[str]:
        """Connect, check the identity, log in and open SFTP on a connection of its own."""
        link = SftpLink(self._config, self._tally.add)
        try:
            yield from link.steps()
        finally:
            link.close()

    def put(self, key: str, data: Data) -> None:
        """Send under a temporary name, compare the size, make it durable where the server can, rename."""
        final, parts = self._path(check_key(key)), parts_of(data)
        temporary = final + b"-restic-temp-" + secrets.token_hex(16).encode()
        with self._pool.lease() as link:
            try:
                # The cause is found out before leftovers are removed, which would make a full disk look empty.
                with self._told(link, key, writing=True):
                    self._send(link, temporary, final, parts)
            except BaseException:
                self._leftovers.append(temporary)
                raise
            finally:
                self._sweep(link)

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the range; ObjectMissing, ShortRead."""
        check_range(offset, length)
        path = self._path(check_key(key))
        with self._pool.lease() as link, self._told(link, key):
            handle = self._opened(link, path, key)
            try:
                if not length:
                    length = self._length_from(link, handle, key, offset, length)
                blocks = self._read(link, handle, key, offset, length)
            finally:
                if link.alive:
                    link.wire.ignore(link.wire.close(handle))
        whole = b"".join(blocks)
        if len(whole) != length:
            raise ShortRead(f"{key} ends {length - len(whole)} bytes early", key=key)
        return whole

    def stat(self, key: str) -> int:
        """Return the size in bytes; ObjectMissing."""
        path = self._path(check_key(key))
        with self._pool.lease() as link, self._told(link, key):
            return _file_size(link.wire.stat(path), key)

    def delete(self, key: str) -> None:
        """Remove the file if it is there."""
        path = self._path(check_key(key))
        with self._pool.lease() as link, self._told(link, key, writing=True):
            self._remove(link, path)
            self._sweep(link)

    def prepare(self, folders: Iterable[str]) -> None:
        """Make the root and those of ``folders`` that are missing, all of a level at once."""
        wanted = {check_prefix(folder) for folder in folders} - {""}
        wanted |= {above for folder in wanted for above in _above(folder)}
        with self._pool.lease() as link, self._told(link, "", writing=True):
            self._make_root(link)
            for depth in sorted({folder.count("/") for folder in wanted}):
                level = [self._path(folder) for folder in wanted if folder.count("/") == depth]
                self._make_folders(link, level)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the files below the folder, with several connections at once."""
        return walk(self._list_folder, check_prefix(prefix), min(self._config.connections or 8, 8))

    def capacity(self) -> tuple[int, int]:
        """Return (total, free) bytes; CapacityUnknown if the server cannot say."""
        with self._pool.lease() as link, self._told(link, ""):
            found = None
            for place in (self._root.encode() or b".", b"."):
                with suppress(Status):
                    found = found or link.wire.statvfs(place)
        if found is None:
            raise CapacityUnknown("the server does not tell how much room it has")
        return found

    def share_connections(self, places: Places) -> None:
        """Connect only from one of ``places``, which other processes use too."""
        self._pool.share(places)

    def close(self) -> None:
        """Log out everywhere."""
        self._pool.close()

    def _remove(self, link: SftpLink, path: bytes) -> None:
        code = link.wire.code(link.wire.remove(path))
        if code in (OK, NO_SUCH_FILE):
            return
        # Windows does not remove what is read-only.
        link.wire.code(link.wire.chmod(path, 0o600))
        try:
            link.wire.done(link.wire.remove(path))
        except Status:
            if _exists(link, path):
                raise

    # connections and paths

    def _connect(self) -> SftpLink:
        return SftpLink.opened(self._config, self._tally.add)

    def _path(self, key: str) -> bytes:
        if not self._root:
            return key.encode()
        return f"{self._root.rstrip('/')}/{key}".encode() if key else self._root.encode()

    def _modes_now(self, link: SftpLink) -> tuple[int, int]:
        """Return the modes for folders and finished files: the group's too, if it can read ``config``."""
        if self._modes is None:
            try:
                mode = link.wire.stat(self._path("config")).mode or 0
            except Status:
                mode = 0
            self._modes = (0o770, 0o440) if mode & stat.S_IRGRP else (0o700, 0o400)
        return self._modes

    # writing

    def _create(self, link: SftpLink, path: bytes) -> bytes:
        folders, finished = self._modes_now(link)
        del folders
        writing = finished | 0o200 | (0o020 if finished & 0o040 else 0)
        try:
            return link.wire.create(path, writing)
        except Status as status:
            if status.code != NO_SUCH_FILE:
                raise
        self._make_root(link)
        folder = path.rpartition(b"/")[0].decode()
        root = self._root.rstrip("/")
        below = folder[len(root) :].strip("/")
        for above in [*reversed(_above(below)), below]:
            if above:
                self._make_folders(link, [self._path(above)])
        return link.wire.create(path, writing)

    def _make_root(self, link: SftpLink) -> None:
        for folder in [*reversed(_above(self._root)), self._root]:
            if folder.strip("./"):
                self._make_folders(link, [folder.encode()])

    def _make_folders(self, link: SftpLink, paths: _Paths) -> None:
        """Make folders, and set the mode of those that are new: the server's umask may have narrowed it."""
        mode = self._modes_now(link)[0]
        asked = [(path, link.wire.mkdir(path, mode)) for path in paths]
        new = []
        denied = None
        for path, number in asked:
            try:
                link.wire.done(number)
                new.append(path)
            except Status as status:
                denied = status if status.code == PERMISSION_DENIED and not _exists(link, path) else denied
        for number in [link.wire.chmod(path, mode) for path in new]:
            link.wire.code(number)
        if denied:
            raise denied

    def _send(self, link: SftpLink, temporary: bytes, final: bytes, parts: _Parts) -> None:
        handle = self._create(link, temporary)
        if link.in_order:
            self._send_in_one_go(link, handle, parts)
            self._close_and_rename(link, handle, temporary, final)
        else:
            self._send_step_by_step(link, handle, parts, temporary)
            self._rename(link, temporary, final)
            link.wire.code(link.wire.chmod(final, self._modes_now(link)[1]))

    def _send_in_one_go(self, link: SftpLink, handle: bytes, parts: _Parts) -> None:
        """Write, set the mode, make durable and compare the size, with all of it on its way at once."""
        wire = link.wire
        try:
            writing = wire.write_all(handle, self._blocks(wire.longest_write, parts))
            next(writing)
            chmod, sync, size = (
                wire.fchmod(handle, self._modes_now(link)[1]),
                wire.fsync(handle),
                wire.ask_fstat(handle),
            )
            next(writing, None)
            wire.code(chmod)
            if sync is not None:
                wire.done(sync)
            _compare(wire.fstat_reply(size), parts)
        except BaseException:
            if link.alive:
                wire.ignore(wire.close(handle))
            raise

    def _send_step_by_step(self, link: SftpLink, handle: bytes, parts: _Parts, path: bytes) -> None:
        """Write, close, compare the size: for servers that work requests off side by side."""
        wire = link.wire
        try:
            for _ in wire.write_all(handle, self._blocks(wire.longest_write, parts)):
                pass
        finally:
            if link.alive:
                closed = wire.close(handle)
                wire.done(closed)
        _compare(wire.stat(path), parts)

    def _blocks(self, longest: int, parts: _Parts) -> Iterator[memoryview]:
        if not self._pace:
            yield from _packed(parts, longest)
            return
        for block in _packed(parts, self._pace.up_block(longest)):
            self._pace.up(block.nbytes)
            yield block

    def _close_and_rename(self, link: SftpLink, handle: bytes, temporary: bytes, final: bytes) -> None:
        closed, renamed = link.wire.close(handle), link.wire.rename(temporary, final)
        try:
            link.wire.done(closed)
        finally:
            code = link.wire.code(renamed)
        if code != OK:
            self._rename(link, temporary, final)

    def _rename(self, link: SftpLink, temporary: bytes, final: bytes) -> None:
        if link.wire.code(link.wire.rename(temporary, final)) == OK:
            return
        if _exists(link, final):
            # This server does not rename over a file.
            self._no_rename_over = True
            link.wire.code(link.wire.remove(final))
        link.wire.done(link.wire.rename(temporary, final))

    def _sweep(self, link: SftpLink) -> None:
        """Remove what earlier failures left behind, and killed writers."""
        found, self._of_the_killed = self._of_the_killed, set()
        self._leftovers += found
        while link.alive:
            try:
                path = self._leftovers.pop()
            except IndexError:
                return
            try:
                with link.translated():
                    link.wire.code(link.wire.remove(path))
            except StoreError:
                self._leftovers.append(path)
                return

    # reading

    def _opened(self, link: SftpLink, path: bytes, key: str) -> bytes:
        try:
            return link.wire.open(path)
        except Status as status:
            if status.code == FAILURE:
                _file_size(link.wire.stat(path), key)
            raise

    def _length_from(self, link: SftpLink, handle: bytes, key: str, offset: int, length: int | None) -> int:
        """Return how many bytes to read when the caller asked for none, or for all from ``offset``."""
        size = _file_size(link.wire.fstat(handle), key)
        if offset > size:
            raise ShortRead(f"{key} has {size} bytes, not {offset}", key=key)
        return size - offset if length is None else 0

    def _read(self, link: SftpLink, handle: bytes, key: str, offset: int, length: int) -> _Views:
        step = self._pace.down_block(_SMALL) if self._pace else _SMALL
        blocks = []
        try:
            for block in link.wire.read_range(handle, offset, length, step):
                blocks.append(block)
                if self._pace:
                    self._pace.down(len(block))
        except Status:
            _file_size(link.wire.fstat(handle), key)
            raise
        return blocks

    def _list_folder(self, folder: str) -> Listing:
        start = f"{folder}/" if folder else ""
        infos: list[ObjectInfo] = []
        folders: list[str] = []
        with self._pool.lease() as link, self._told(link, folder):
            try:
                entries = list(link.wire.list_folder(self._path(folder) or b"."))
            except Status:
                # Only what is surely not there, or no folder, lists as empty.
                if self._is_folder(link, folder):
                    raise
                return [], []
            for entry in entries:
                self._sort_in(link, start, entry, infos, folders)
        return infos, folders

    def _is_folder(self, link: SftpLink, folder: str) -> bool:
        try:
            mode = link.wire.stat(self._path(folder) or b".").mode
        except Status as status:
            return status.code != NO_SUCH_FILE
        return mode is None or stat.S_ISDIR(mode)

    def _sort_in(self, link: SftpLink, start: str, entry: Entry, infos: _Infos, folders: _Names) -> None:
        key = start + entry.name.decode("ascii", "replace")
        if not is_key(key):
            self._notice(start, entry)
            return
        size, mode, _ = entry.attributes
        if mode is None or size is None:
            with suppress(Status):
                size, mode, _ = link.wire.stat(self._path(key))
        if mode is not None and stat.S_ISDIR(mode):
            folders.append(key)
        elif mode is not None and stat.S_ISREG(mode) and size is not None:
            infos.append(ObjectInfo(key, size))

    def _notice(self, start: str, entry: Entry) -> None:
        """Remember a file that a killed writer left, to be removed with the next change."""
        name, (_, mode, changed) = entry.name.decode("ascii", "replace"), entry.attributes
        old = changed is not None and changed < time.time() - LEFT_SECONDS
        if old and is_leftover(name) and mode is not None and stat.S_ISREG(mode):
            self._of_the_killed.add(self._path(start + name))

    # errors

    @contextmanager
    def _told(self, link: SftpLink, key: str, *, writing: bool = False) -> Iterator[None]:
        """Say in our errors what a status means."""
        try:
            with link.translated():
                yield
        except Status as status:
            raise self._meaning(link, status, key, writing) from None

    def _meaning(self, link: SftpLink, status: Status, key: str, writing: bool) -> StoreError:
        said = f"{key or 'the folder'}: {status.text or 'refused'}"
        if status.code == NO_SUCH_FILE and not writing:
            return ObjectMissing(f"{key} is not there", key=key)
        if status.code == PERMISSION_DENIED:
            return (FolderNotWritable if writing else AccessDenied)(said, key=key)
        if status.code == FAILURE and writing:
            return self._why_not_written(link, said, key)
        return StoreError(f"{key or 'the folder'}: the server answered {status.code} {status.text}", key=key)

    def _why_not_written(self, link: SftpLink, said: str, key: str) -> StoreError:
        """SFTP has one answer for all that can go wrong with a disk; the free space tells more."""
        room = None
        with suppress(Status, StoreError), link.translated():
            room = link.wire.statvfs(self._root.encode() or b".")
        if room is None:
            return StoreError(f"{said}: the server could not write; its disk may be full", key=key)
        if room[1] < 1 << 20:
            return StoreFull(f"{said}: the disk of the server is full", key=key)
        return QuotaExceeded(f"{said}: the disk has room, but the server could not write", key=key)


# Inside the class, ``list`` is the method.
_Parts = list[memoryview]
_Views = list[memoryview]
_Paths = list[bytes]
_Infos = list[ObjectInfo]
_Names = list[str]


def _packed(parts: _Parts, size: int) -> Iterator[memoryview]:
    """Yield ``parts`` as blocks of ``size`` bytes; small parts are joined, as each block costs a request."""
    waiting = bytearray()
    for block in blocks_of(parts, size):
        if not waiting and block.nbytes == size:
            yield block
            continue
        room = size - len(waiting)
        waiting += block[:room]
        if len(waiting) == size:
            yield memoryview(bytes(waiting))
            waiting = bytearray(block[room:])
    if waiting:
        yield memoryview(bytes(waiting))


def _compare(arrived: Attributes, parts: _Parts) -> None:
    total = sum(part.nbytes for part in parts)
    if arrived.size not in (total, None):
        raise TransferDamaged(f"{arrived.size} of {total} bytes arrived")


def _above(folder: str) -> _Names:
    """Return the folders above, the nearest first."""
    parts = folder.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


def _file_size(attributes: Attributes, key: str) -> int:
    if attributes.mode is not None and not stat.S_ISREG(attributes.mode):
        raise ObjectMissing(f"{key} is not a file", key=key)
    if attributes.size is None:
        raise StoreError(f"the server does not tell the size of {key}", key=key)
    return attributes.size


def _exists(link: SftpLink, path: bytes) -> bool:
    try:
        link.wire.stat(path)
    except Status as status:
        return status.code != NO_SUCH_FILE
    return True

"""An FTP server, with or without TLS.

A killed writer leaves its temporary file behind.  A listing notices such files, and the next call that changes
something removes those older than a day.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec

from destinations.storage.base import Capabilities, Data, ObjectInfo, Pace, parts_of
from destinations.storage.config import FtpConfig
from destinations.storage.errors import (
    AccessDenied,
    ObjectMissing,
    ShortRead,
    StoreError,
    StoreUnreachable,
    TransferDamaged,
)
from destinations.storage.ftp_control import Refused
from destinations.storage.ftp_folders import Lister
from destinations.storage.ftp_link import FtpLink
from destinations.storage.ftp_listing import Entry
from destinations.storage.ftp_meaning import DENIED, FULL, QUOTA, told
from destinations.storage.names import (
    LEFT_SECONDS,
    check_key,
    check_prefix,
    check_range,
    is_key,
    is_leftover,
    temporary_name,
)
from destinations.storage.places import Places
from destinations.storage.pool import Pool, Tally
from destinations.storage.walk import Listing, walk


class FtpStore:
    """Objects as files below a folder of an FTP server.  Safe to use from several threads."""

    connect_steps: tuple[str, ...]

    def __init__(self, config: FtpConfig) -> None:
        """Use the server of ``config``; nothing is connected yet."""
        self._config = config
        root = config.path.rstrip("/")
        self._root = f"{'./' if root.startswith('-') else ''}{root}" or ("/" if config.path else "")
        self._read_back = not config.tls if config.read_back is None else config.read_back
        self._pace: Pace | None = None
        self._tally = Tally()
        self._features: frozenset[str] | None = None
        self._no_rename_over = self._no_rest = False
        self._lister = Lister()
        self._folders: set[str] = set()
        self._leftovers: deque[str] = deque(maxlen=50)
        self._of_the_killed: set[str] = set()
        self._pool: Pool[FtpLink] = Pool(self._connect, config.connections)
        self.connect_steps = ("connect", "secure", "log in") if config.tls else ("connect", "log in")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            connections=self._config.connections,
            overwrite=not self._no_rename_over,
            verified_put=self._config.tls or self._read_back,
        )

    def set_pace(self, pace: Pace | None) -> None:
        """Slow transfers down with ``pace``."""
        self._pace = pace

    def requests(self) -> int:
        """Return the number of commands sent, log-ins included."""
        return self._tally.value

    def connect_step_by_step(self) -> Iterator[str]:
        """Connect, secure and log in on a connection of its own."""
        link = FtpLink(self._config, self._tally.add)
        try:
            yield link.greet()[4:].split("\n")[0].strip()
            if self._config.tls:
                yield link.secure()
            link.login()
            yield f"logged in as {self._config.user}"
        finally:
            link.close()

    def certificate(self) -> str:
        """Return the certificate's SHA-256, whether or not it is trusted; nobody logs in."""
        if not self._config.tls:
            return ""
        link = FtpLink(msgspec.structs.replace(self._config, verify=False, pins=()), self._tally.add)
        try:
            link.greet()
            return link.secure().rpartition(" ")[2]
        finally:
            link.close()

    def put(self, key: str, data: Data) -> None:
        """Send under a temporary name, confirm what arrived, rename."""
        final, parts = self._path(check_key(key)), parts_of(data)
        temporary = temporary_name(final)
        with self._pool.lease() as link, told(key, writing=True):
            try:
                self._store(link, temporary, parts)
                self._confirm(link, temporary, parts)
                self._publish(link, temporary, final)
            except BaseException:
                self._leftovers.append(temporary)
                raise
            finally:
                self._sweep(link)

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the range; ObjectMissing, ShortRead."""
        check_range(offset, length)
        path = self._path(check_key(key))
        with self._pool.lease() as link, told(key):
            if length is None and not offset:
                return self._read_all(link, path, key)
            if not length:
                there = self._length_from(link, path, key, offset)
                length = there if length is None else 0
            if not length:
                return b""
            whole = self._read(link, path, key, offset, length)[0]
            if len(whole) != length:
                if offset + length > link.size(path):
                    raise ShortRead(f"{key} ends {length - len(whole)} bytes early", key=key)
                raise StoreUnreachable(f"{key}: the transfer was cut off", key=key)
        return whole

    def stat(self, key: str) -> int:
        """Return the size in bytes; ObjectMissing."""
        path = self._path(check_key(key))
        with self._pool.lease() as link, told(key):
            return link.size(path)

    def delete(self, key: str) -> None:
        """Remove the file if it is there."""
        path = self._path(check_key(key))
        with self._pool.lease() as link, told(key, writing=True):
            try:
                link.command(f"DELE {path}")
            except Refused as refused:
                if refused.reply != 550 or _exists(link, path):
                    raise
            self._sweep(link)

    def prepare(self, folders: Iterable[str]) -> None:
        """Make the root and those of ``folders`` that are missing, with several connections at once."""
        wanted = {check_prefix(folder) for folder in folders}
        wanted |= {above for folder in wanted for above in _above(folder)} - {""}
        with self._pool.lease() as link, told("", writing=True):
            self._make_folder(link, self._root)
        for depth in sorted({folder.count("/") for folder in wanted}):
            level = {folder for folder in wanted if folder.count("/") == depth}
            for parent in {folder.rpartition("/")[0] for folder in level}:
                level -= set(self._list_folder(parent)[1])
            with ThreadPoolExecutor(self._workers()) as pool:
                list(pool.map(self._prepare_one, level))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the files below the folder, with several connections at once."""
        return walk(self._list_folder, check_prefix(prefix), self._workers())

    def sha256(self, key: str) -> str | None:
        """Return the digest if the server can reckon it, else None."""
        path = self._path(check_key(key))
        with self._pool.lease() as link, told(key):
            return link.sha256(path)

    def share_connections(self, places: Places) -> None:
        """Connect only from one of ``places``, which other processes use too."""
        self._pool.share(places)

    def close(self) -> None:
        """Log out everywhere."""
        self._pool.close()

    # connections

    def _connect(self) -> FtpLink:
        link = FtpLink(self._config, self._tally.add)
        try:
            link.greet()
            if self._config.tls:
                link.secure()
            link.login(self._features)
        except BaseException:
            link.abandon()
            raise
        self._features = link.features
        return link

    def _workers(self) -> int:
        return min(self._config.connections or 8, 8)

    def _path(self, key: str) -> str:
        if not self._root:
            return key
        return f"{self._root.rstrip('/')}/{key}" if key else self._root

    # writing

    def _store(self, link: FtpLink, path: str, parts: _Parts) -> None:
        folder = path.rpartition("/")[0]
        known = folder in self._folders
        try:
            link.store(path, parts, self._pace)
        except Refused as refused:
            if known or refused.reply not in (550, 553, 501, 450, 451):
                raise
            self._make_folder(link, folder)
            link.store(path, parts, self._pace)
        self._folders.add(folder)

    def _make_folder(self, link: FtpLink, folder: str) -> None:
        """Make a folder and those above it; that a refusal matters shows when something is put there."""
        refused = None
        for path in (*reversed(_above(folder)), folder):
            if path.strip("./") and path not in self._folders:
                try:
                    link.command(f"MKD {path}")
                except Refused as error:
                    refused = error
        if refused and DENIED.search(refused.said):
            raise refused

    def _prepare_one(self, folder: str) -> None:
        with self._pool.lease() as link, told(folder, writing=True):
            try:
                link.command(f"MKD {self._path(folder)}")
            except Refused as refused:
                if DENIED.search(refused.said) or FULL.search(refused.said) or QUOTA.search(refused.said):
                    raise
        self._folders.add(self._path(folder))

    def _confirm(self, link: FtpLink, path: str, parts: _Parts) -> None:
        """Make sure that what arrived is what was sent: all of its bytes where nothing else protects them."""
        total = sum(part.nbytes for part in parts)
        if not self._read_back:
            arrived = link.size(path)
            if arrived != total:
                raise TransferDamaged(f"{arrived} of {total} bytes arrived")
            return
        digest = link.sha256(path)
        same = _digest(parts) == digest if digest else self._same(link, path, parts)
        if not same:
            raise TransferDamaged("what arrived is not what was sent")

    def _same(self, link: FtpLink, path: str, parts: _Parts) -> bool:
        """Read a file back and say whether it is just ``parts``."""
        ours = _Cursor(parts)
        link.retrieve(path, ours.compare, self._pace)
        return ours.all_same()

    def _publish(self, link: FtpLink, temporary: str, final: str) -> None:
        try:
            self._rename(link, temporary, final)
        except Refused:
            if not _exists(link, final):
                raise
            # Windows servers do not rename over a file.
            self._no_rename_over = True
            link.command(f"DELE {final}")
            self._rename(link, temporary, final)

    def _rename(self, link: FtpLink, old: str, new: str) -> None:
        link.command(f"RNFR {old}")
        link.command(f"RNTO {new}")

    def _sweep(self, link: FtpLink) -> None:
        """Remove what earlier failures left, and killed writers; what cannot be removed now may be later."""
        if self._of_the_killed:
            self._sweep_old(link)
        while link.usable():
            try:
                path = self._leftovers.popleft()
            except IndexError:
                return
            try:
                link.command(f"DELE {path}")
            except Refused:
                pass
            except StoreError:
                self._leftovers.append(path)
                return

    def _sweep_old(self, link: FtpLink) -> None:
        """Remove the unfinished files that listings noticed, as far as they are old."""
        found, self._of_the_killed = self._of_the_killed, set()
        oldest = time.time() - LEFT_SECONDS
        for path in found:
            try:
                changed = link.changed(path)
                if changed is not None and changed < oldest:
                    link.command(f"DELE {path}")
            except Refused:
                continue
            except StoreError:
                return

    # reading

    def _length_from(self, link: FtpLink, path: str, key: str, offset: int) -> int:
        """Return how many bytes there are from ``offset`` on; ShortRead if it lies beyond the end."""
        size = link.size(path)
        if offset > size:
            raise ShortRead(f"{key} has {size} bytes, not {offset}", key=key)
        return size - offset

    def _read_all(self, link: FtpLink, path: str, key: str) -> bytes:
        """Read to the end; where nothing proves that it was the end, compare the size.

        Repeated a few times, as the object may just have been replaced by another.
        """
        for _ in range(8):
            whole, proven = self._read(link, path, key, 0, None)
            if proven or len(whole) == link.size(path):
                return whole
        raise StoreUnreachable(f"{key}: the transfer was cut off", key=key)

    def _read(self, link: FtpLink, path: str, key: str, offset: int, length: int | None) -> tuple[bytes, bool]:
        blocks: list[bytes] = []
        skip = offset if self._no_rest else 0
        rest, more = offset - skip, length if length is None else length + skip
        try:
            proven = link.retrieve(path, blocks.append, self._pace, offset=rest, length=more)
        except Refused as refused:
            if rest and refused.reply in (500, 501, 502, 504):
                # This server always begins at the beginning.
                self._no_rest = True
                return self._read(link, path, key, offset, length)
            if offset and _exists(link, path):
                # A read that begins beyond the end is refused by some servers.
                self._length_from(link, path, key, offset + 1)
            raise
        return b"".join(blocks)[skip:], proven

    def _list_folder(self, folder: str) -> Listing:
        path = self._path(folder)
        try:
            with self._pool.lease() as link, told(folder):
                try:
                    entries = self._lister.entries(link, path)
                except Refused as refused:
                    if self._lister.is_there(link, path, refused):
                        raise AccessDenied(f"the folder {path} cannot be listed: {refused.said}") from None
                    return [], []
                return self._sorted(link, folder, entries)
        except ObjectMissing:
            return [], []

    def _sorted(self, link: FtpLink, folder: str, entries: _Entries) -> Listing:
        start = f"{folder}/" if folder else ""
        infos: list[ObjectInfo] = []
        folders: list[str] = []
        for name, is_folder, size in entries:
            key = start + name
            if not is_key(key):
                if is_leftover(name) and not is_folder:
                    self._of_the_killed.add(self._path(key))
                continue
            if is_folder:
                folders.append(key)
                continue
            with suppress(Refused):
                infos.append(ObjectInfo(key, link.size(self._path(key)) if size is None else size))
        return infos, folders


# Inside the class, ``list`` is the method.
_Parts = list[memoryview]
_Entries = list[Entry]


class _Cursor:
    """Compares a stream with the parts of an object."""

    def __init__(self, parts: _Parts) -> None:
        self._parts = iter(parts)
        self._part = memoryview(b"")
        self._same = True

    def compare(self, block: bytes) -> None:
        """Take the next bytes of the stream."""
        rest = memoryview(block)
        while rest and self._same:
            if not self._part:
                self._same = self._next()
                continue
            count = min(len(rest), len(self._part))
            # Views compare byte by byte in slow motion; bytes do not.
            self._same = bytes(rest[:count]) == bytes(self._part[:count])
            rest, self._part = rest[count:], self._part[count:]

    def all_same(self) -> bool:
        """Say whether all was the same, with nothing left."""
        return self._same and not self._part and not self._next()

    def _next(self) -> bool:
        """Go on to the next part that has bytes; False if there is none."""
        for part in self._parts:
            if part.nbytes:
                self._part = part
                return True
        return False


def _digest(parts: _Parts) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _above(folder: str) -> list[str]:
    """Return the folders above, the nearest first."""
    parts = folder.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


def _exists(link: FtpLink, path: str) -> bool:
    try:
        link.size(path)
    except Refused:
        return False
    return True

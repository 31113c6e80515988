"""The SFTP protocol, version 3, with many requests under way at once.

Knows nothing of SSH: it speaks over anything with ``send`` and ``recv``.  Used by one thread at a time.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE, NO_CONNECTION, CONNECTION_LOST, UNSUPPORTED = range(9)

_INIT, _VERSION, _OPEN, _CLOSE, _READ, _WRITE = 1, 2, 3, 4, 5, 6
_FSTAT, _SETSTAT, _FSETSTAT, _OPENDIR, _READDIR, _REMOVE, _MKDIR = 8, 9, 10, 11, 12, 13, 14
_REALPATH, _STAT, _RENAME = 16, 17, 18
_STATUS, _HANDLE, _DATA, _NAME, _ATTRS = 101, 102, 103, 104, 105
_EXTENDED, _EXTENDED_REPLY = 200, 201
_READ_FLAG, _WRITE_FLAG, _CREATE_FLAG, _EXCLUSIVE_FLAG = 1, 2, 8, 32
_HAS_SIZE, _HAS_OWNER, _HAS_MODE, _HAS_TIMES, _HAS_MORE = 1, 2, 4, 8, 1 << 31

_U32 = struct.Struct(">I")
_HEAD = struct.Struct(">IBI")
_LONGEST_PACKET = 1 << 20
_MOST_AT_ONCE = 256
_MOST_BYTES_AT_ONCE = 8 << 20
_READDIRS_AT_ONCE = 3


class Pipe(Protocol):
    """A two-way stream of bytes."""

    def send(self, data: memoryview) -> int:
        """Send some of ``data``, and return how much."""

    def recv(self, needed: int) -> bytes:
        """Return what came, as much as ``needed`` if that is not long in coming, or more; nothing at the end."""


class Broken(Exception):
    """The stream ended, or what came is not SFTP."""


class Status(Exception):
    """The server answered a request with a status other than OK."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"status {code}: {text}")
        self.code, self.text = code, text


class Attributes(NamedTuple):
    """Size, mode and time of change (epoch seconds) of a file, None where the server does not say."""

    size: int | None
    mode: int | None
    changed: int | None = None


class Entry(NamedTuple):
    """A name in a folder."""

    name: bytes
    attributes: Attributes


class Reply(NamedTuple):
    """What came back for a request."""

    kind: int
    body: memoryview


class Wire:
    """Sends requests and matches the replies to them."""

    def __init__(self, pipe: Pipe, count: Callable[[], None]) -> None:
        """Greet the server over ``pipe``; ``count`` is called for every request."""
        self._pipe, self._count = pipe, count
        self._buffer = memoryview(b"")
        self._next = 0
        self._waiting: dict[int, Reply | None] = {}
        self._unwanted: set[int] = set()
        self.extensions: dict[bytes, bytes] = {}
        self.longest_read = self.longest_write = 32 << 10
        self._greet()

    def _greet(self) -> None:
        self._send(b"\0\0\0\5\1\0\0\0\3")
        kind, body = self._packet()
        if kind != _VERSION or len(body) < 4:
            raise Broken("the server's greeting is not SFTP")
        rest = body[4:]
        while rest:
            name, rest = _text(rest)
            value, rest = _text(rest)
            self.extensions[bytes(name)] = bytes(value)
        if b"limits@openssh.com" in self.extensions:
            body = self._expect(_EXTENDED_REPLY, self.request(_EXTENDED, _s(b"limits@openssh.com")))
            if len(body) >= 24:
                _, longest_read, longest_write = struct.unpack_from(">QQQ", body)
                self.longest_read = max(32 << 10, min(longest_read or 0, 255 << 10))
                self.longest_write = max(32 << 10, min(longest_write or 0, 255 << 10))

    # single requests

    def request(self, kind: int, *parts: bytes | memoryview) -> int:
        """Send a request and return its number; the reply is fetched with :meth:`reply`."""
        self._count()
        self._next = (self._next + 1) & 0xFFFFFFFF
        length = 5 + sum(map(len, parts))
        self._send(b"".join((_HEAD.pack(length, kind, self._next), *parts)))
        self._waiting[self._next] = None
        return self._next

    def reply(self, number: int) -> Reply:
        """Return the reply to request ``number``, waiting for it."""
        while (found := self._waiting[number]) is None:
            self._take_one()
        del self._waiting[number]
        return found

    def ignore(self, number: int) -> None:
        """Throw the reply to request ``number`` away when it comes."""
        if self._waiting.pop(number, None) is None:
            self._unwanted.add(number)

    def done(self, number: int) -> None:
        """Wait for a request whose only good answer is OK; Status."""
        kind, body = self.reply(number)
        if kind != _STATUS:
            raise Broken("a status was expected")
        _raise_unless_ok(body)

    def code(self, number: int) -> int:
        """Wait for a request and return the code of its status."""
        try:
            self.done(number)
        except Status as status:
            return status.code
        return OK

    def mkdir(self, path: bytes, mode: int) -> int:
        """Ask for a folder."""
        return self.request(_MKDIR, _s(path), struct.pack(">II", _HAS_MODE, mode))

    def chmod(self, path: bytes, mode: int) -> int:
        """Ask for other permission bits."""
        return self.request(_SETSTAT, _s(path), struct.pack(">II", _HAS_MODE, mode))

    def remove(self, path: bytes) -> int:
        """Ask for a file to go."""
        return self.request(_REMOVE, _s(path))

    def rename(self, old: bytes, new: bytes) -> int:
        """Ask for a new name, over an existing file where the server can."""
        if b"posix-rename@openssh.com" in self.extensions:
            return self.request(_EXTENDED, _s(b"posix-rename@openssh.com"), _s(old), _s(new))
        return self.request(_RENAME, _s(old), _s(new))

    def stat(self, path: bytes) -> Attributes:
        """Return size and mode; Status."""
        return _attributes(self._expect(_ATTRS, self.request(_STAT, _s(path))))[0]

    def fstat(self, handle: bytes) -> Attributes:
        """Return size and mode of an open file; Status."""
        return self.fstat_reply(self.ask_fstat(handle))

    def ask_fstat(self, handle: bytes) -> int:
        """Ask for size and mode of an open file."""
        return self.request(_FSTAT, _s(handle))

    def fstat_reply(self, number: int) -> Attributes:
        """Return size and mode that were asked for; Status."""
        return _attributes(self._expect(_ATTRS, number))[0]

    def fchmod(self, handle: bytes, mode: int) -> int:
        """Ask for other permission bits of an open file."""
        return self.request(_FSETSTAT, _s(handle), struct.pack(">II", _HAS_MODE, mode))

    def fsync(self, handle: bytes) -> int | None:
        """Ask for an open file to be made durable, if the server can."""
        if b"fsync@openssh.com" not in self.extensions:
            return None
        return self.request(_EXTENDED, _s(b"fsync@openssh.com"), _s(handle))

    def close(self, handle: bytes) -> int:
        """Ask for an open file or folder to be closed."""
        return self.request(_CLOSE, _s(handle))

    def realpath(self, path: bytes) -> bytes:
        """Return the absolute form of ``path``; Status."""
        body = self._expect(_NAME, self.request(_REALPATH, _s(path)))
        return bytes(_text(body[4:])[0])

    def statvfs(self, path: bytes) -> tuple[int, int] | None:
        """Return (total, free) bytes of the file system, or None where the server cannot say; Status."""
        if b"statvfs@openssh.com" not in self.extensions:
            return None
        body = self._expect(_EXTENDED_REPLY, self.request(_EXTENDED, _s(b"statvfs@openssh.com"), _s(path)))
        if len(body) < 40:
            raise Broken("the answer about free space is too short")
        _, unit, blocks, _, free = struct.unpack_from(">QQQQQ", body)
        return blocks * unit, free * unit

    # files

    def create(self, path: bytes, mode: int) -> bytes:
        """Open a new file for writing and return its handle; Status."""
        flags = _WRITE_FLAG | _CREATE_FLAG | _EXCLUSIVE_FLAG
        return self._handle(self.request(_OPEN, _s(path), struct.pack(">III", flags, _HAS_MODE, mode)))

    def open(self, path: bytes) -> bytes:
        """Open a file for reading and return its handle; Status."""
        return self._handle(self.request(_OPEN, _s(path), struct.pack(">II", _READ_FLAG, 0)))

    def write_all(self, handle: bytes, blocks: Iterator[memoryview]) -> Iterator[None]:
        """Write ``blocks`` (none above ``longest_write``) one after the other.  Status.

        Yields once when all are on their way, so that requests to follow at once can be sent; go on to wait for them.
        """
        offset = flying = 0
        under_way: list[tuple[int, int]] = []
        head = _s(handle)
        try:
            for block in blocks:
                while under_way and (len(under_way) >= _MOST_AT_ONCE or flying > _MOST_BYTES_AT_ONCE):
                    number, size = under_way.pop(0)
                    flying -= size
                    self.done(number)
                number = self.request(_WRITE, head, struct.pack(">QI", offset, block.nbytes), block)
                under_way.append((number, block.nbytes))
                offset += block.nbytes
                flying += block.nbytes
            yield
            while under_way:
                self.done(under_way.pop(0)[0])
        finally:
            for number, _ in under_way:
                self.ignore(number)

    def read_range(self, handle: bytes, offset: int, length: int, step: int) -> Iterator[memoryview]:
        """Yield the bytes from ``offset`` in order; fewer than ``length`` if the file ends before.  Status."""
        head = _s(handle)
        step = min(step, self.longest_read)
        at_once = max(2, min(_MOST_AT_ONCE, _MOST_BYTES_AT_ONCE // step))
        asked, end = offset, offset + length
        under_way: list[tuple[int, int, int]] = []
        try:
            while asked < end or under_way:
                while asked < end and len(under_way) < at_once:
                    size = min(step, end - asked)
                    number = self.request(_READ, head, struct.pack(">QI", asked, size))
                    under_way.append((number, asked, size))
                    asked += size
                number, start, size = under_way.pop(0)
                data = self._data(self.reply(number))
                if data is None:
                    return
                yield data
                if len(data) < size:
                    rest = start + len(data), size - len(data)
                    under_way.insert(0, (self.request(_READ, head, struct.pack(">QI", *rest)), *rest))
        finally:
            for number, _, _ in under_way:
                self.ignore(number)

    def _data(self, reply: Reply) -> memoryview | None:
        """Return the bytes of a read, or None at the end of the file."""
        if reply.kind == _DATA:
            data = _text(reply.body)[0]
            return data if len(data) else None
        if reply.kind != _STATUS:
            raise Broken("data were expected")
        code, text = _status(reply.body)
        if code == EOF:
            return None
        raise Status(code, text)

    # folders

    def list_folder(self, path: bytes) -> Iterator[Entry]:
        """Yield the names in a folder; Status."""
        handle = self._handle(self.request(_OPENDIR, _s(path)))
        under_way: list[int] = []
        try:
            while True:
                while len(under_way) < _READDIRS_AT_ONCE:
                    under_way.append(self.request(_READDIR, _s(handle)))
                kind, body = self.reply(under_way.pop(0))
                if kind == _NAME:
                    yield from _entries(body)
                    continue
                code, text = _status(body)
                if code == EOF:
                    return
                raise Status(code, text)
        finally:
            for number in under_way:
                self.ignore(number)
            self.ignore(self.close(handle))

    # the stream

    def _handle(self, number: int) -> bytes:
        return bytes(_text(self._expect(_HANDLE, number))[0])

    def _expect(self, wanted: int, number: int) -> memoryview:
        kind, body = self.reply(number)
        if kind == _STATUS:
            _raise_unless_ok(body)
        if kind != wanted:
            raise Broken(f"a reply of kind {kind} came instead of {wanted}")
        return body

    def _take_one(self) -> None:
        kind, body = self._packet()
        if len(body) < 4:
            raise Broken("a reply is too short")
        number = _U32.unpack_from(body)[0]
        if number in self._unwanted:
            self._unwanted.remove(number)
        elif number in self._waiting:
            self._waiting[number] = Reply(kind, body[4:])
        else:
            raise Broken("a reply came to no request")

    def _packet(self) -> tuple[int, memoryview]:
        length = _U32.unpack(self._exactly(4))[0]
        if not 1 <= length <= _LONGEST_PACKET:
            raise Broken("a packet is beyond all measure")
        packet = self._exactly(length)
        return packet[0], packet[1:]

    def _exactly(self, count: int) -> memoryview:
        if len(self._buffer) < count:
            parts: list[bytes | memoryview] = [self._buffer]
            missing = count - len(self._buffer)
            while missing > 0:
                part = self._pipe.recv(missing)
                if not part:
                    raise Broken("the server ended the connection")
                parts.append(part)
                missing -= len(part)
            self._buffer = memoryview(b"".join(parts))
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            sent = self._pipe.send(rest)
            if sent <= 0:
                raise Broken("the server ended the connection")
            rest = rest[sent:]


def _s(text: bytes) -> bytes:
    return _U32.pack(len(text)) + text


def _text(body: memoryview) -> tuple[memoryview, memoryview]:
    """Return a string at the beginning of ``body``, and what follows it."""
    if len(body) < 4:
        raise Broken("a reply is too short")
    length = _U32.unpack_from(body)[0]
    if length > len(body) - 4:
        raise Broken("a string is longer than its reply")
    return body[4 : 4 + length], body[4 + length :]


def _status(body: memoryview) -> tuple[int, str]:
    if len(body) < 4:
        raise Broken("a status is too short")
    text = bytes(_text(body[4:])[0]) if len(body) >= 8 else b""
    printable = "".join(letter if letter.isprintable() else "?" for letter in text.decode("utf-8", "replace"))
    return _U32.unpack_from(body)[0], printable[:200]


def _raise_unless_ok(body: memoryview) -> None:
    code, text = _status(body)
    if code != OK:
        raise Status(code, text)


def _attributes(body: memoryview) -> tuple[Attributes, memoryview]:
    """Return the attributes at the beginning of ``body``, and what follows them."""
    try:
        flags = _U32.unpack_from(body)[0]
        size = mode = changed = None
        at = 4
        if flags & _HAS_SIZE:
            size = struct.unpack_from(">Q", body, at)[0]
            at += 8
        if flags & _HAS_OWNER:
            at += 8
        if flags & _HAS_MODE:
            mode = _U32.unpack_from(body, at)[0]
            at += 4
        if flags & _HAS_TIMES:
            changed = _U32.unpack_from(body, at + 4)[0]
            at += 8
        more = 0
        if flags & _HAS_MORE:
            more = _U32.unpack_from(body, at)[0]
            at += 4
    except struct.error:
        raise Broken("the attributes are cut off") from None
    if at > len(body):
        raise Broken("the attributes are cut off")
    rest = body[at:]
    for _ in range(2 * more):
        _, rest = _text(rest)
    return Attributes(size, mode, changed), rest


def _entries(body: memoryview) -> list[Entry]:
    if len(body) < 4:
        raise Broken("a listing is cut off")
    count, rest, entries = _U32.unpack_from(body)[0], body[4:], []
    for _ in range(count):
        name, rest = _text(rest)
        line, rest = _text(rest)
        attributes, rest = _attributes(rest)
        if attributes.mode is None and len(line):
            kind = stat.S_IFDIR if line[0] == ord("d") else stat.S_IFREG if line[0] == ord("-") else 0
            attributes = attributes._replace(mode=kind)
        entries.append(Entry(bytes(name), attributes))
    return entries

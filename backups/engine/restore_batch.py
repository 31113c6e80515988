"""Some files at once: each gets its blobs as the packs give them, and its name when it has them all."""

from __future__ import annotations

from collections.abc import Callable
from errno import EDQUOT, ENOSPC, EROFS
from hashlib import sha256

from backups.engine.errors import Corrupt, EngineError
from backups.engine.fetch import fetch, locate, plain_length, reach_of
from backups.engine.ports import Entry, OldFile, TargetFile, TargetFolder
from backups.engine.records import Location
from backups.engine.repository import Repository
from backups.engine.restore_rules import ITEM_ERRORS, Problem, RestoreOptions, Warn

ID = 32
_ZEROS = bytes(64 * 1024)
_FATAL = {ENOSPC, EDQUOT, EROFS}
_FILES = 2000
_BYTES = 32 * 1024 * 1024
_LARGE = 64
"""Bounds of a batch: files, their bytes, and files of several blobs, which stay open for a while."""

Piece = tuple[bytes, int, int]
"""A blob's id, the place of its first byte in the file, and its length."""


class TargetFull(EngineError):
    """Nothing more can be written to the target at all."""

    code = "HF-TARGET-FULL"
    guidance = "Free space or raise the quota, and restore again; what is there already is not written twice."


class File:
    """A file on its way: how many of its blobs are missing, and where they go."""

    __slots__ = ("entry", "folder", "handle", "left", "length", "path", "pieces", "shared")

    def __init__(self, folder: TargetFolder, path: bytes, entry: Entry, *, shared: bool = False) -> None:
        self.folder, self.path, self.entry, self.shared = folder, path, entry, shared
        self.handle: TargetFile | None = None
        self.left = self.length = 0
        self.pieces: list[Piece] = []


class Batch:
    """Files to be written together.  ``warn`` is told of each that fails; ``stopped`` says that it is time to end."""

    def __init__(
        self, repository: Repository, options: RestoreOptions, warn: Warn, stopped: Callable[[], bool]
    ) -> None:
        self._repository = repository
        self._options = options
        self._plain = not (options.sparse or options.verify)
        self._warn = warn
        self._stopped = stopped
        self._places: dict[bytes, Location] = {}
        self._small: dict[bytes, list[tuple[TargetFolder, bytes, Entry]]] = {}
        self._wants: dict[bytes, list[tuple[File, int]]] = {}
        self._open: set[File] = set()
        self.files = self.bytes = 0
        self._waiting_files = self._waiting_bytes = self._large = 0

    @property
    def is_full(self) -> bool:
        """Tell whether it should be run before more is added."""
        return self._waiting_files >= _FILES or self._waiting_bytes >= _BYTES or self._large >= _LARGE

    def add(self, folder: TargetFolder, path: bytes, entry: Entry, content: bytes, old: OldFile | None = None) -> None:
        """Take a file of the blobs whose ids are joined in ``content``.

        Ranges of ``old`` that hold the right bytes are copied from there.  Raises Corrupt for a file that
        cannot be had.
        """
        self._waiting_files += 1
        if len(content) == ID and old is None and self._plain:
            place = self._places[content] = locate(self._repository, content)
            self._waiting_bytes += plain_length(place)
            self._small.setdefault(content, []).append((folder, path, entry))
        else:
            self._add(File(folder, path, entry), content, 0, old)

    def add_part(
        self,
        folder: TargetFolder,
        path: bytes,
        entry: Entry,
        content: bytes,
        offset: int,
        token: bytes,
        old: OldFile | None,
    ) -> None:
        """Take a part, from ``offset`` on, of a file that another process began and will finish."""
        file = File(folder, path, entry, shared=True)
        file.handle = folder.join(token)
        self._open.add(file)
        self._add(file, content, offset, old)

    def _add(self, file: File, content: bytes, offset: int, old: OldFile | None) -> None:
        self._large += 1
        try:
            file.pieces = self.laid_out(content, offset)
            file.length = sum(length for _, _, length in file.pieces)
            lacking = file.pieces if old is None else self._copied(file, old)
            for blob_id, start, _ in lacking:
                self._places[blob_id] = locate(self._repository, blob_id)
                self._wants.setdefault(blob_id, []).append((file, start))
            file.left = len(lacking)
            self._waiting_bytes += file.length
            if not file.left:
                self._finish(file, self._opened(file))
        except ITEM_ERRORS as error:
            self._fail(file, error)

    def laid_out(self, content: bytes, offset: int) -> list[Piece]:
        """Return where each blob goes in a file, the first one at ``offset``.  Raises Corrupt."""
        pieces: list[Piece] = []
        for at in range(0, len(content), ID):
            blob_id = content[at : at + ID]
            length = plain_length(locate(self._repository, blob_id))
            pieces.append((blob_id, offset, length))
            offset += length
        return pieces

    def _copied(self, file: File, old: OldFile) -> list[Piece]:
        """Write what the old file has in the right place; return the pieces that have to be read."""
        lacking = []
        for piece in file.pieces:
            blob_id, offset, length = piece
            data = old.read(offset, length) if offset < old.size else b""
            if len(data) == length and sha256(data).digest() == blob_id:
                self._write(file, self._opened(file), data, offset)
            else:
                lacking.append(piece)
        return lacking

    def run(self) -> None:
        """Read what is wanted, write it, finish the files.  Raises TargetFull, StoreError."""
        try:
            for blob_id, plain in fetch(self._repository, self._places, reach_of(self._repository)):
                if self._stopped():
                    return
                for folder, path, entry in self._small.get(blob_id, ()):
                    self._put(folder, path, entry, plain)
                for file, offset in self._wants.get(blob_id, ()):
                    self._take(file, plain, offset)
        finally:
            for file in tuple(self._open):
                self._drop(file)
            self._places, self._small, self._wants = {}, {}, {}
            self._waiting_files = self._waiting_bytes = self._large = 0

    def _put(self, folder: TargetFolder, path: bytes, entry: Entry, plain: bytes | EngineError) -> None:
        try:
            if not isinstance(plain, bytes):
                raise plain
            folder.put(entry, plain)
        except ITEM_ERRORS as error:
            raise_if_full(error)
            self._warn(Problem.of(path, error))
        else:
            self.files += 1
            self.bytes += len(plain)

    def _take(self, file: File, plain: bytes | EngineError, offset: int) -> None:
        if file.left < 0:
            return
        try:
            if not isinstance(plain, bytes):
                raise plain
            handle = self._opened(file)
            self._write(file, handle, plain, offset)
            file.left -= 1
            if not file.left:
                self._finish(file, handle)
        except ITEM_ERRORS as error:
            self._fail(file, error)

    def _write(self, file: File, handle: TargetFile, plain: bytes, offset: int) -> None:
        if self._options.sparse:
            write_sparse(handle, plain, offset)
        else:
            handle.write(plain, offset)

    def _opened(self, file: File) -> TargetFile:
        if file.handle is None:
            size = file.length if self._options.sparse or len(file.pieces) > 1 else None
            file.handle = file.folder.create(file.entry, size)
            self._open.add(file)
        return file.handle

    def _finish(self, file: File, handle: TargetFile) -> None:
        if self._options.verify:
            verify(handle, file.pieces)
        file.left = -1
        if file.shared:
            handle.close()
        else:
            handle.finish(file.entry)
            self.files += 1
        self._open.discard(file)
        self.bytes += file.length

    def _fail(self, file: File, error: Exception) -> None:
        file.left = -1
        self._drop(file)
        raise_if_full(error)
        self._warn(Problem.of(file.path, error))

    def _drop(self, file: File) -> None:
        self._open.discard(file)
        if file.handle is not None:
            file.handle.close()


def raise_if_full(error: Exception) -> None:
    """Raise TargetFull if the error says that no other item can be written either."""
    if isinstance(error, OSError) and error.errno in _FATAL:
        raise TargetFull(f"the target takes no more: {error.strerror}") from error


def write_sparse(handle: TargetFile, plain: bytes, offset: int) -> None:
    """Write all but the blocks that are zero; the file has its length already."""
    view = memoryview(plain)
    step = len(_ZEROS)
    start: int | None = None
    position = 0
    while position < len(plain):
        end = min(len(plain), position + step - (offset + position) % step)
        if view[position:end] == _ZEROS[: end - position]:
            if start is not None:
                handle.write(view[start:position], offset + start)
                start = None
        elif start is None:
            start = position
        position = end
    if start is not None:
        handle.write(view[start:], offset + start)


def verify(handle: TargetFile, pieces: list[Piece]) -> None:
    """Read pieces of a file back and compare them.  Raises Corrupt."""
    for blob_id, offset, length in pieces:
        data = handle.read(offset, length)
        if len(data) != length or sha256(data).digest() != blob_id:
            raise Corrupt(f"reads back differently at byte {offset}; the disk or memory here may be bad", kind="target")

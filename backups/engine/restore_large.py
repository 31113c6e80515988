"""Files that several helpers write at once: begun here, filled in parts anywhere, finished here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backups.engine.fetch import locate, plain_length
from backups.engine.ports import Entry, Target, TargetFile, TargetFolder
from backups.engine.repository import Repository
from backups.engine.restore_batch import ID
from backups.engine.restore_rules import RestoreOptions, looks_equal, may_write
from backups.engine.restore_tasks import Content, Outcome, Piece

_PART = 32 * 1024 * 1024
"""Bytes of a part."""
_LARGE = 2 * _PART
_LARGE_BLOBS = 256


def is_large(item: Content) -> bool:
    """Tell whether a file is worth sharing out."""
    return item[0].size > _LARGE or len(item[1]) > _LARGE_BLOBS * ID


@dataclass(slots=True)
class _Large:
    """A file while its parts are under way.  ``handle`` None: its old content is being compared."""

    path: bytes
    entry: Entry
    parts: list[tuple[bytes, int]]
    size: int
    folder: TargetFolder
    handle: TargetFile | None = None
    left: int = 0
    whole: bool = True
    replaces: bool = False

    def close(self) -> None:
        if self.handle is not None:
            self.handle.close()
        self.folder.close()


class LargeFiles:
    """The large files under way.  ``submit`` takes the tasks that come of them."""

    def __init__(
        self, repository: Repository, target: Target, options: RestoreOptions, submit: Callable[[Piece], None]
    ) -> None:
        self._repository = repository
        self._target = target
        self._options = options
        self._submit = submit
        self._files: dict[int, _Large] = {}
        self._count = 0

    def begin(self, path: bytes, item: Content, out: Outcome) -> None:
        """Begin a file of the folder at ``path``; what happens to it at once is counted in ``out``.

        Raises OSError, TargetProblem, Corrupt.
        """
        entry, content = item
        parts, size = self._cut(content)
        large = _Large(path, entry, parts, size, self._target.folder(path))
        try:
            if self._begin(large, out):
                return
        except BaseException:
            large.close()
            raise
        large.close()

    def _begin(self, large: _Large, out: Outcome) -> bool:
        folder, entry = large.folder, large.entry
        there = folder.found().get(entry.name)
        removed = may_write(folder, there, entry, self._options)
        out.skipped += removed < 0
        out.deleted += max(removed, 0)
        if removed < 0:
            return False
        large.replaces = there is not None and there.kind == "file"
        if there is None or not large.replaces or there.size != large.size:
            self._write(large)
            return True
        trusted = self._options.overwrite == "if-different" and not self._options.verify
        if trusted and looks_equal(there, entry) and folder.update(entry):
            _count_unchanged(large, out)
            return False
        self._share_out(large)
        return True

    def is_whole(self, number: int) -> bool:
        """Tell whether all parts of a file went well till now; of a damaged one only the first problem is told."""
        return self._files[number].whole

    def part_done(self, task: Piece, outcome: Outcome, out: Outcome) -> None:
        """Take note of a part; finish the file, or begin to write it, with the last one.

        Raises OSError, TargetProblem.
        """
        large = self._files[task.number]
        large.left -= 1
        large.whole = large.whole and (bool(task.token) or outcome.equal) and not outcome.problems
        if large.left:
            return
        del self._files[task.number]
        try:
            if self._ended(large, out):
                return
        except BaseException:
            large.close()
            raise
        large.close()

    def _ended(self, large: _Large, out: Outcome) -> bool:
        """Act on the end of all parts; True if the file goes on."""
        if large.handle is not None:
            if large.whole:
                large.handle.finish(large.entry)
                out.files += 1
            return False
        if large.whole and large.folder.update(large.entry):
            _count_unchanged(large, out)
            return False
        large.whole = True
        self._write(large)
        return True

    def close(self) -> None:
        """Let go of what is not finished."""
        for large in self._files.values():
            large.close()
        self._files.clear()

    def _write(self, large: _Large) -> None:
        large.handle = large.folder.create(large.entry, large.size, shared=True)
        self._share_out(large)

    def _share_out(self, large: _Large) -> None:
        self._count += 1
        self._files[self._count] = large
        large.left = len(large.parts)
        token = large.handle.token if large.handle is not None else b""
        for content, offset in large.parts:
            self._submit(Piece(self._count, large.path, large.entry, content, offset, token, large.replaces))

    def _cut(self, content: bytes) -> tuple[list[tuple[bytes, int]], int]:
        """Return the parts of a file as (joined ids, offset), and its size."""
        parts: list[tuple[bytes, int]] = []
        begin = offset = part_offset = 0
        for at, length in enumerate(self._lengths(content)):
            if offset - part_offset >= _PART:
                parts.append((content[begin * ID : at * ID], part_offset))
                begin, part_offset = at, offset
            offset += length
        parts.append((content[begin * ID :], part_offset))
        return parts, offset

    def _lengths(self, content: bytes) -> Iterator[int]:
        for at in range(0, len(content), ID):
            yield plain_length(locate(self._repository, content[at : at + ID]))


def _count_unchanged(large: _Large, out: Outcome) -> None:
    out.unchanged += 1
    out.unchanged_bytes += large.size

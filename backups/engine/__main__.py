"""The command line's roof: puts storage, sources and targets together.  ``python -m backups.engine --help``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, BinaryIO

from backups.engine.cli.main import main
from backups.engine.cli.session import Wiring
from backups.engine.errors import SourceProblem
from backups.engine.ports import Source
from backups.sources import FolderOptions, FolderSource, StreamFile
from backups.sources.composed import ComposedSource, VirtualFolder
from destinations.storage.base import ObjectStore
from destinations.storage.local import LocalStore


def _folder_source(paths: list[bytes], **options: Any) -> Source:
    return FolderSource(paths, FolderOptions(**options))


class _Input:
    """Standard input, which must not be empty: a failed command before the pipe would look like an empty file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._empty = True

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._empty = self._empty and not data
        return data

    def close(self) -> None:
        self._stream.close()
        if self._empty:
            raise SourceProblem("nothing came from standard input")


def _stream_source(name: bytes, stream: BinaryIO, *, mtime: int) -> Source:
    parts = [part for part in name.split(b"/") if part not in (b"", b".", b"..")] or [b"stdin"]

    def members(_problem: object) -> list[Any]:
        member: Any = StreamFile(parts[-1], lambda: _Input(stream), mtime=mtime)
        for part in reversed(parts[:-1]):
            member = VirtualFolder.plain(part, [member], mtime=mtime)
        return [member]

    return ComposedSource(members)


def _open_store(location: str) -> ObjectStore:
    kind, colon, _ = location.partition(":")
    if not colon or "/" in kind or kind == "local":
        return LocalStore(Path(location.removeprefix("local:")))
    # The drivers bring large libraries along: only who uses one waits for it.
    from destinations.storage.location import open_location

    return open_location(location)


def _folder_target(*args: Any, **options: Any) -> Any:
    from restores.targets.folder import FolderTarget

    return FolderTarget(*args, **options)


def _archive_writer(form: Any, out: Any) -> Any:
    from restores.targets.archive import open_archive

    return open_archive(form, out)


def _null_target(*args: Any, **options: Any) -> Any:
    from restores.targets.null import NullTarget

    return NullTarget(*args, **options)


WIRING = Wiring(_open_store, _folder_source, _stream_source, _folder_target, _archive_writer, _null_target)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], WIRING))

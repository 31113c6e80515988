"""``dump``: a file, or a folder as an archive, to standard output or a file."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from backups.engine.cli.session import Session, choose_snapshot
from backups.engine.dumper import DumpResult, dump_file, dump_folder
from backups.engine.errors import BadRequest
from backups.engine.tree import DIR
from backups.engine.tree_path import find_node


def dump(session: Session) -> int:
    """Write a file or folder of a snapshot."""
    args = session.args
    progress = session.progress("dump")
    with session.repository() as repository:
        snapshot, folder = choose_snapshot(session, repository, args.snapshot)
        path = b"/".join(part for part in (os.fsencode(folder).strip(b"/"), os.fsencode(args.file).strip(b"/")) if part)
        node = find_node(repository, snapshot.tree, path) if path else None
        if path and node is None:
            raise BadRequest(f"there is no {args.file!r} in this snapshot")
        with _output(args.target) as out:
            if node is not None and node.type != DIR:
                result = dump_file(repository, snapshot.tree, path, out, progress=progress, cancel=session.cancel)
            else:
                archive = session.wiring.archive_writer(args.archive, out)
                result = dump_folder(repository, snapshot.tree, path, archive, progress=progress, cancel=session.cancel)
    return _report(session, result)


@contextlib.contextmanager
def _output(target: str | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that gets its name only when it is whole."""
    if not target:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    temporary = Path(f"{target}-tmp-{os.getpid()}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _report(session: Session, result: DumpResult) -> int:
    """Sum up; each problem was shown when it was met."""
    if result.complete:
        return 0
    session.console.warn(f"left out: {len(result.problems)} of {len(result.problems) + result.items} items")
    return 1

"""An account as a source: one folder for each component, and a file that says what the account is."""

from __future__ import annotations

import io
import os
import stat
import time
from typing import Any

from backups.engine.patterns import Patterns
from backups.engine.ports import Entry, Source, SourceFolder
from backups.session.spec import Backup, Component
from backups.sources import FolderOptions, FolderSource, StreamFile
from backups.sources.composed import ComposedSource, Problem


class Mount:
    """A component: real paths below a folder of its own."""

    def __init__(self, component: Component, options: FolderOptions, problem: Problem) -> None:
        name = component.name.encode()
        self.entry = Entry(
            name=name, kind="dir", mode=stat.S_IFDIR | 0o755, mtime=0, ctime=0, uid=0, gid=0, named=False
        )
        self._name = name
        self._paths = [os.fsencode(path) for path in component.paths]
        self._options = options
        self._problem = problem

    def enter_self(self) -> SourceFolder:
        """Open the paths as one tree."""
        folder = FolderSource(self._paths, self._options).root(
            lambda path, error: self._problem(self._name + b"/" + path.lstrip(b"/"), error)
        )
        folder.entry = self.entry
        return folder


def account_source(command: Backup) -> Source:
    """Return the source a backup command describes."""
    excluded = Patterns(command.excludes) if command.excludes else None
    options = FolderOptions(
        excluded=(lambda path, is_folder: excluded.matches(path)) if excluded else None,
        exclude_caches=True,
        owners=frozenset(command.owners) if command.owners else None,
    )
    note = command.note.encode()

    def members(problem: Problem) -> list[Any]:
        mounts: list[Any] = [Mount(component, options, problem) for component in command.components]
        about = StreamFile(b"account.json", lambda: io.BytesIO(note), mtime=time.time_ns(), mode=0o600, uid=0, gid=0)
        return [*mounts, about]

    return ComposedSource(members)

"""An account as a source: one folder for each component, and a file that says what the account is."""

from __future__ import annotations

import io
import os
import stat
import time
from collections.abc import Callable
from typing import Any

from backups.engine.patterns import Patterns
from backups.engine.ports import Entry, Source, SourceFolder
from backups.session.chosen import ChosenPaths
from backups.session.homes import real_home
from backups.session.spec import Backup, Component
from backups.sources import FolderOptions, FolderSource, StreamFile
from backups.sources.composed import ComposedSource, Problem
from backups.spelling import unspell


class Mount:
    """A component: real paths below a folder of its own."""

    def __init__(self, component: Component, options: FolderOptions, problem: Problem, owners: list[int]) -> None:
        name = component.name.encode()
        self.entry = Entry(
            name=name, kind="dir", mode=stat.S_IFDIR | 0o755, mtime=0, ctime=0, uid=0, gid=0, named=False
        )
        self._name = name
        self._paths = [os.fsencode(path) for path in component.paths]
        self._homes = {path: real_home(path, owners) for path in self._paths} if component.homes else {}
        self._modes = dict.fromkeys(self._paths, component.mode) if component.mode is not None else {}
        self._options = options
        self._problem = problem

    def enter_self(self) -> SourceFolder:
        """Open the paths as one tree."""
        folder = FolderSource(self._paths, self._options, self._homes, self._modes).root(
            lambda path, error: self._problem(self._name + b"/" + path.lstrip(b"/"), error)
        )
        folder.entry = self.entry
        return folder


def account_source(command: Backup) -> Source:
    """Return the source a backup command describes."""
    excluded = Patterns(command.excludes) if command.excludes else None
    note = command.note.encode()

    def members(problem: Problem) -> list[Any]:
        mounts: list[Any] = [
            Mount(component, _options(command, component, excluded), problem, command.owners)
            for component in command.components
        ]
        about = StreamFile(b"account.json", lambda: io.BytesIO(note), mtime=time.time_ns(), mode=0o600, uid=0, gid=0)
        return [*mounts, about]

    return ComposedSource(members)


def _options(command: Backup, component: Component, excluded: Patterns | None) -> FolderOptions:
    left_out: Callable[[bytes, bool], bool] | None = None
    if component.only:
        left_out = _all_but([unspell(path).rstrip(b"/") for path in component.only])
    elif excluded is not None:
        patterns = excluded
        left_out = lambda path, _is_folder: patterns.matches(path)  # noqa: E731 - one of two rules
    return FolderOptions(
        excluded=left_out,
        exclude_caches=not command.caches,
        owners=frozenset(command.owners) if command.owners else None,
    )


def _all_but(wanted: list[bytes]) -> Callable[[bytes, bool], bool]:
    """Return a rule that leaves out everything but the wanted paths, what is below, and the way to them."""
    chosen = ChosenPaths(wanted)
    return lambda path, _is_folder: not (chosen.holds(path) or chosen.leads(path))

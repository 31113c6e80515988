"""What a session says: one JSON object a line, each short enough to be written at once by several processes.

What is longer goes out as several lines ``piece``, which :class:`backups.lines.Lines` puts together again: several
processes write to one pipe, and the kernel keeps only short lines whole.
"""

from __future__ import annotations

import base64
import os
from itertools import count
from typing import Any

import msgspec

from backups.spelling import shown

_PIECE = 4000
_AT_ONCE = 4096
"""Bytes with the line's end that the kernel writes to a pipe without mixing them with others' (PIPE_BUF)."""
_PORTION = 2900
_OUT = 1
_numbers = count()


def say(event: str, item: int = 0, **fields: Any) -> None:
    """Write a line.  Long texts are cut, and what is no text in them (a name that is no UTF-8) stands as ``?``."""
    for name, value in fields.items():
        if isinstance(value, str):
            text = value if len(value) <= 1500 or name == "path" else value[:1500] + "…"
            fields[name] = text.encode("utf-8", "replace").decode()
    line = msgspec.json.encode({"event": event, "item": item, **fields})
    if len(line) < _AT_ONCE:
        _write(line)
        return
    name = f"{os.getpid()}-{next(_numbers)}"
    for start in range(0, len(line), _PORTION):
        text = base64.b64encode(line[start : start + _PORTION]).decode()
        last = start + _PORTION >= len(line)
        _write(msgspec.json.encode({"event": "piece", "item": item, "of": name, "text": text, "last": last}))


def _write(line: bytes) -> None:
    view = memoryview(line + b"\n")
    while view:
        view = view[os.write(_OUT, view) :]


class SaidProgress:
    """The engine's progress as lines, at most two a second.  Without ``totals`` how much is to come is unknown."""

    def __init__(self, item: int, clock: Any, *, totals: bool = True) -> None:
        self._totals = totals
        self._item = item
        self._clock = clock
        self._last = 0.0
        self.problems = 0

    def update(
        self, *, files: int = 0, bytes: int = 0, total_files: int = 0, total_bytes: int = 0, item: str = ""
    ) -> None:
        """Say how far it is."""
        moment = self._clock()
        if moment - self._last >= 0.5:
            self._last = moment
            total = total_bytes if self._totals else 0
            say("progress", self._item, files=files, bytes=bytes, total=total, current=_readable(item)[-300:])

    def problem(self, path: str, message: str) -> None:
        """Say what was left out; the first hundred by name."""
        self.problems += 1
        if self.problems <= 100:
            say("problem", self._item, path=_readable(path)[-1000:], message=message)


def _readable(path: str) -> str:
    """Return a path as people read it; escapes that stand in it already stay as they are."""
    return shown(os.fsencode(path)).replace("\\\\", "\\")


def say_list(event: str, item: int, entries: list[dict[str, Any]], **fields: Any) -> None:
    """Write a list in as many lines as it needs (``more``), and the event with ``fields`` as the last one.

    An entry that fits into no line is left out.
    """
    batch: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        length = len(msgspec.json.encode(entry))
        if length > _PIECE - 200:
            continue
        if batch and size + length > _PIECE - 200:
            say("more", item, entries=batch)
            batch, size = [], 0
        batch.append(entry)
        size += length + 1
    if batch:
        say("more", item, entries=batch)
    say(event, item, **fields)

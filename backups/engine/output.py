"""What the command line shows: lines for people, JSON objects for programs, progress on a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from typing import Any, TextIO

import msgspec

from backups.engine.errors import EngineError
from destinations.storage.errors import StoreError

_MOST = (1 << 64) - 1
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human_bytes(size: float) -> str:
    """Return a size with a binary unit: ``1.500 MiB``."""
    for unit in _UNITS:
        if abs(size) < 1024 or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3f} {unit}"
        size /= 1024
    raise AssertionError


def human_seconds(seconds: float) -> str:
    """Return a duration as ``m:ss`` or ``h:mm:ss``."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def printable(text: str) -> str:
    """Return text a terminal can take: control characters and lone bytes spelled out."""
    return "".join(c if c.isprintable() else _spelled(c) for c in text)


def _spelled(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # one byte that is no UTF-8, as surrogateescape hands it over
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


class Console:
    """Standard output and error of one run.  With ``json`` every line is one object, progress included."""

    def __init__(self, *, json: bool, quiet: bool = False, verbose: int = 0, out: TextIO | None = None) -> None:
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self._out = out or sys.stdout
        self._shown = ""
        self._terminal = not json and not quiet and sys.stderr.isatty()
        self._shows_people = self._out.isatty()

    def line(self, text: str = "") -> None:
        """Show a line to a person; nothing with --json or --quiet."""
        if not self.json and not self.quiet:
            self.result(text)

    def result(self, text: str) -> None:
        """Show a line that was asked for, quiet or not: spelled out for a terminal, as it is for another program."""
        self.clear()
        self._out.write((printable(text) if self._shows_people else text) + "\n")

    def record(self, value: Any) -> None:
        """Write one JSON object (or list) as a line."""
        self._out.write(msgspec.json.encode(_clean(value)).decode() + "\n")
        self._out.flush()

    def warn(self, text: str) -> None:
        """Show a line on standard error."""
        self.clear()
        if self.json:
            sys.stderr.write(msgspec.json.encode({"message_type": "warning", "message": _clean(text)}).decode() + "\n")
        else:
            sys.stderr.write(printable(text) + "\n")

    def failed(self, error: EngineError | StoreError, exit_code: int) -> None:
        """Show why the run ends, with the stable code and the next step."""
        self.clear()
        if self.json:
            fields = {"message_type": "exit_error", "code": exit_code, "message": str(error)}
            fields |= {"error_code": error.code, "guidance": error.guidance}
            sys.stderr.write(msgspec.json.encode(_clean(fields)).decode() + "\n")
            return
        sys.stderr.write(f"{printable(str(error))} ({error.code})\n{error.guidance}\n")

    def status(self, text: str) -> None:
        """Replace the progress line on a terminal."""
        if not self._terminal:
            return
        width = max(20, os.get_terminal_size(2).columns) - 1 if sys.stderr.isatty() else 79
        self._shown = printable(text)[:width]
        sys.stderr.write(f"\r\x1b[K{self._shown}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the progress line away."""
        if self._shown:
            self._shown = ""
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class ShownProgress:
    """A Progress for people and programs.  ``during`` is restic's word for what failed items are failing in."""

    def __init__(self, console: Console, during: str, *, interval: float = 0.5) -> None:
        self._console = console
        self._during = during
        self._interval = interval
        self._began = time.monotonic()
        self._last = 0.0
        self._samples: deque[tuple[float, int]] = deque(maxlen=40)
        self.problems = 0

    def update(
        self, *, files: int = 0, bytes: int = 0, total_files: int = 0, total_bytes: int = 0, item: str = ""
    ) -> None:
        """Show the figures, at most twice a second."""
        now = time.monotonic()
        if now - self._last < self._interval:
            return
        self._last = now
        self._samples.append((now, bytes))
        elapsed = now - self._began
        speed = self._speed()
        left = (total_bytes - bytes) / speed if speed > 0 and total_bytes > bytes else 0.0
        if self._console.json:
            fields: dict[str, Any] = {
                "message_type": "status",
                "seconds_elapsed": int(elapsed),
                "percent_done": min(1.0, bytes / total_bytes) if total_bytes else 0.0,
                "total_files": total_files,
                "files_done": files,
                "total_bytes": total_bytes,
                "bytes_done": bytes,
                "bytes_per_second": int(speed),
            }
            if left and elapsed > 15:
                fields["seconds_remaining"] = int(left)
            if item:
                fields["current_files"] = [item]
            self._console.record(fields)
            return
        share = f"{min(100.0, 100 * bytes / total_bytes):.1f} %  " if total_bytes else ""
        text = f"[{human_seconds(elapsed)}] {share}{files} files, {human_bytes(bytes)}, {human_bytes(speed)}/s"
        if left and elapsed > 15:
            text += f", about {human_seconds(left)} left"
        self._console.status(f"{text}  {item}")

    def _speed(self) -> float:
        """Return bytes a second over the last ten seconds."""
        last, size = self._samples[-1]
        while len(self._samples) > 2 and last - self._samples[0][0] > 10:
            self._samples.popleft()
        first, before = self._samples[0]
        return (size - before) / (last - first) if last > first else 0.0

    def problem(self, path: str, message: str) -> None:
        """Show one item that was left out or failed."""
        self.problems += 1
        if self._console.json:
            error = {"message_type": "error", "error": {"message": message}, "during": self._during, "item": path}
            sys.stderr.write(msgspec.json.encode(_clean(error)).decode() + "\n")
        else:
            self._console.warn(f"{path}: {message}" if path else message)


def _clean(value: Any) -> Any:
    """Return a value JSON can take: bytes of names that are not UTF-8 become replacement characters.

    Sums of what a stranger's trees claim are cut to what JSON can hold.
    """
    if isinstance(value, int) and value > _MOST:
        return _MOST
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value

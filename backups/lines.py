"""What a child of ours says, line by line: JSON objects, long ones in pieces."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

_MOST_OPEN = 64


class Lines:
    """Puts together what arrives in any portions; pieces of several speakers may arrive mixed."""

    def __init__(self) -> None:
        self._rest = b""
        self._open: dict[str, list[str]] = {}

    def take(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield the objects that ``data`` completes.  ValueError for a line that is none."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if said["event"] == "piece":
                said = self._joined(said)
            if said is not None:
                yield said

    def _joined(self, piece: dict[str, Any]) -> dict[str, Any] | None:
        parts = self._open.setdefault(piece["of"], [])
        parts.append(piece["text"])
        if not piece["last"]:
            # A speaker that was killed leaves an open one behind.
            while len(self._open) > _MOST_OPEN:
                del self._open[next(iter(self._open))]
            return None
        del self._open[piece["of"]]
        whole: dict[str, Any] = json.loads(b"".join(map(base64.b64decode, parts)))
        return whole

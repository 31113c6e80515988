"""Whether a disk has the room that work on it needs: looked at before a run, because a full disk breaks a night."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from panel.core.text import size

LEAST_BYTES = 64 << 20
"""Below this nothing starts, whatever the settings say: a session's own files need some room."""
CODE = "HF-NO-ROOM"
GUIDANCE = "Free some space or add a disk; the limit is under Settings, Cleanup and checks."


@dataclass(frozen=True, slots=True)
class Room:
    """A folder, what it is for, and how much of its disk must stay free: percent, and bytes that will be needed."""

    name: str
    folder: Path
    percent: int = 0
    need: int = 0

    def problem(self) -> str:
        """Return a sentence if there is too little room, nothing if there is enough or if the disk does not say."""
        existing = next((path for path in (self.folder, *self.folder.parents) if path.exists()), None)
        if existing is None:
            return ""
        try:
            usage = shutil.disk_usage(existing)
        except OSError:
            return ""
        least = max(LEAST_BYTES, self.need, usage.total * self.percent // 100)
        if usage.free >= least:
            return ""
        return f"Too little room for {self.name}: {size(usage.free)} are free, {size(least)} must be."


def first_problem(*rooms: Room) -> str:
    """Return the first problem of several places, or nothing."""
    return next((problem for room in rooms if (problem := room.problem())), "")

"""Which files of the server's configuration a restore touches.

Configuration lies among other accounts' files.  So whole folders of it are never put back, saved or compared as
folders: a restore begins with the list of the files that the snapshot has there, and touches exactly those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from panel.core.errors import Conflict
from restores.choosing import Part, component_of, is_inside

CONFIG = "config"
MOST = 500


def must_be_listed(parts: Sequence[Part], *, in_place: bool) -> list[Part]:
    """Return the parts that hold configuration which is to go back in place."""
    return [part for part in parts if in_place and any(component_of(path) == CONFIG for path in part.paths)]


def list_command(part: Part) -> dict[str, Any]:
    """Return the command that lists a snapshot's configuration."""
    return {"do": "search", "snapshot": part.snapshot.snapshot_id, "path": CONFIG, "text": "", "count": MOST}


def listed(part: Part, said: Iterable[dict[str, Any]]) -> Part:
    """Return the part with its configuration as single files.  Conflict for too many, or none."""
    events = list(said)
    if any(event.get("cut") for event in events):
        raise Conflict(f"This restore point has more than {MOST} files of configuration; restore it into a folder.")
    entries = [entry for event in events for entry in event.get("entries", ())]
    files = [entry["path"] for entry in entries if entry["kind"] != "dir"]
    wanted = [path for path in part.paths if component_of(path) == CONFIG]
    found = [path for path in files if any(is_inside(path, one) for one in wanted)]
    others = [path for path in part.paths if component_of(path) != CONFIG]
    if not found and not others:
        raise Conflict("There are no such files of configuration in this restore point.")
    return Part(part.snapshot, tuple(sorted({*others, *found})))

"""Names an object by the beginning of its id."""

from __future__ import annotations

from backups.engine.errors import BadRequest
from backups.engine.layout import Kind
from backups.engine.repository import Repository

_SINGULAR: dict[Kind, str] = {"keys": "key", "data": "pack", "index": "index", "snapshots": "snapshot", "locks": "lock"}


def find_id(repository: Repository, kind: Kind, beginning: str) -> str:
    """Return the one id of a kind that begins so.  Raises BadRequest if there is none, or more than one."""
    found = [name for name in repository.ids(kind) if beginning and name.startswith(beginning.lower())]
    if len(found) != 1:
        raise BadRequest(f"{len(found) or 'no'} {_SINGULAR[kind]} ids begin with {beginning[:64]!r}")
    return found[0]

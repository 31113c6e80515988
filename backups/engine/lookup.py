"""Names an object by the beginning of its id."""

from __future__ import annotations

from collections.abc import Iterable

from backups.engine.errors import BadRequest
from backups.engine.layout import Kind
from backups.engine.repository import Repository

_SINGULAR: dict[Kind, str] = {"keys": "key", "data": "pack", "index": "index", "snapshots": "snapshot", "locks": "lock"}


def find_id(repository: Repository, kind: Kind, beginning: str) -> str:
    """Return the one id of a kind that begins so.  Raises BadRequest if there is none, or more than one."""
    return choose_id(kind, repository.ids(kind), beginning)


def choose_id(kind: Kind, ids: Iterable[str], beginning: str) -> str:
    """Return the one of these ids of a kind that begins so.  Raises BadRequest."""
    found = [name for name in ids if beginning and name.startswith(beginning.lower())]
    if len(found) != 1:
        raise BadRequest(f"{len(found) or 'no'} {_SINGULAR[kind]} ids begin with {beginning[:64]!r}")
    return found[0]

"""Where a change comes from: the address, the person behind another's name, the token.

Set once for a request, so that every entry written meanwhile carries it, whoever writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """``behind`` is the name of the person who acts as somebody else; ``token`` the start of an API token."""

    address: str | None = None
    behind: str = ""
    behind_id: int | None = None
    token: str = ""


_NOWHERE = Origin()
_origin: ContextVar[Origin] = ContextVar("audit_origin", default=_NOWHERE)


def origin() -> Origin:
    """Return where the present change comes from."""
    return _origin.get()


@contextmanager
def coming_from(where: Origin) -> Iterator[None]:
    """Say where changes come from as long as the block runs."""
    mark = _origin.set(where)
    try:
        yield
    finally:
        _origin.reset(mark)

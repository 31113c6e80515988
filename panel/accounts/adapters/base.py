"""The interface between the panel and whatever knows the server's hosting accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HostingAccount:
    """One account as the server knows it.  ``domains`` begins with the main one, if it has any."""

    name: str
    system_user: str
    uid: int
    gid: int
    home: str
    domains: tuple[str, ...] = ()
    suspended: bool = False


class HostingAdapter(Protocol):
    """What a hosting panel, or the plain system, tells about its accounts."""

    source: str
    """The word stored with accounts that came this way."""

    def accounts(self) -> Sequence[HostingAccount]:
        """Return all accounts; nothing of theirs is read for it."""
        ...

    def account(self, name: str) -> HostingAccount | None:
        """Return one account, or None when the server no longer knows it."""
        ...

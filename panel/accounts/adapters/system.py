"""The system's own users as hosting accounts: who has an ordinary number and a home below ``/home``."""

from __future__ import annotations

import pwd
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

from panel.accounts.adapters.base import HostingAccount

FIRST_UID, _LAST_UID = 1000, 59_999
_NO_LOGIN_EVER = frozenset(("nobody", "nogroup"))
_LOCKED_SHELLS = frozenset(("/bin/false", "/usr/bin/false"))


class SystemUsers:
    """Reads the user database of the system."""

    source = "system"

    def __init__(
        self,
        everybody: Callable[[], Iterable[pwd.struct_passwd]] = pwd.getpwall,
        homes: str = "/home",
    ) -> None:
        self._everybody = everybody
        self._homes = PurePosixPath(homes)

    def accounts(self) -> Sequence[HostingAccount]:
        """Return the ordinary users in the order of their names, each once."""
        found = {entry.pw_name: _account(entry) for entry in self._everybody() if self._is_ordinary(entry)}
        return [found[name] for name in sorted(found)]

    def account(self, name: str) -> HostingAccount | None:
        """Return one user, or None."""
        return next((account for account in self.accounts() if account.name == name), None)

    def _is_ordinary(self, entry: pwd.struct_passwd) -> bool:
        home = PurePosixPath(entry.pw_dir)
        inside = home != self._homes and home.is_relative_to(self._homes) and ".." not in home.parts
        return inside and FIRST_UID <= entry.pw_uid <= _LAST_UID and entry.pw_name not in _NO_LOGIN_EVER


def _account(entry: pwd.struct_passwd) -> HostingAccount:
    return HostingAccount(
        name=entry.pw_name,
        system_user=entry.pw_name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        home=entry.pw_dir.rstrip("/"),
        suspended=entry.pw_shell in _LOCKED_SHELLS,
    )

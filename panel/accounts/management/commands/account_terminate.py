"""``manage.py account_terminate``: another panel ended a hosting account."""

from __future__ import annotations

from typing import Any

from panel.accounts import requests
from panel.accounts.commands import JsonCommand
from panel.accounts.services import hosting
from panel.accounts.shapes import account_shape


class Command(JsonCommand):
    """End a hosting account for good: its schedules stop, its backups become orphans."""

    help = "End a hosting account for good: its schedules stop, its backups become orphans."
    target = "account"

    def run(self, words: dict[str, Any], target: str) -> dict[str, Any]:
        """Do it."""
        account = requests.account_named(target)
        hosting.account_terminate(account, actor=None)
        return {"account": account_shape(account)}

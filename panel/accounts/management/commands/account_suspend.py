"""``manage.py account_suspend``: another panel suspended a hosting account."""

from __future__ import annotations

from typing import Any

from panel.accounts import requests
from panel.accounts.commands import JsonCommand
from panel.accounts.services import hosting
from panel.accounts.shapes import account_shape


class Command(JsonCommand):
    """Suspend a hosting account: no schedule backs it up until it is resumed."""

    help = "Suspend a hosting account: no schedule backs it up until it is resumed."
    target = "account"
    words = (("reason", "why, for people to read"),)

    def run(self, words: dict[str, Any], target: str) -> dict[str, Any]:
        """Do it."""
        account = requests.account_named(target)
        hosting.account_suspend(account, reason=str(words.get("reason", "")), actor=None)
        return {"account": account_shape(account)}

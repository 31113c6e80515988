"""``manage.py account_resume``: another panel resumed a hosting account."""

from __future__ import annotations

from typing import Any

from panel.accounts import requests
from panel.accounts.commands import JsonCommand
from panel.accounts.services import hosting
from panel.accounts.shapes import account_shape


class Command(JsonCommand):
    """End the suspension of a hosting account."""

    help = "End the suspension of a hosting account."
    target = "account"

    def run(self, words: dict[str, Any], target: str) -> dict[str, Any]:
        """Do it."""
        account = requests.account_named(target)
        hosting.account_resume(account, actor=None)
        return {"account": account_shape(account)}

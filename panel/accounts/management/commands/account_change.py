"""``manage.py account_change``: another panel changed a hosting account."""

from __future__ import annotations

from typing import Any

from panel.accounts import requests
from panel.accounts.commands import JsonCommand
from panel.accounts.shapes import account_shape


class Command(JsonCommand):
    """Change a hosting account."""

    help = "Change a hosting account. An empty owner or reseller takes it away."
    target = "account"
    words = (
        ("home", "its home folder, a whole path"),
        ("system_user", "the system user its files belong to"),
        ("domain", "its main domain"),
        ("domains", "more domains, separated by commas"),
        ("owner", "the user who owns it"),
        ("reseller", "the reseller who looks after it"),
        ("package", "its package"),
        ("priority", "its priority group"),
    )
    lists = ("domains",)

    def run(self, words: dict[str, Any], target: str) -> dict[str, Any]:
        """Change it."""
        account = requests.account_named(target)
        changed = requests.account_change(account, words, actor=None)
        return {"account": account_shape(account), "changed": changed}

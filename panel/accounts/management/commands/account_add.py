"""``manage.py account_add``: another panel made a hosting account."""

from __future__ import annotations

from typing import Any

from panel.accounts import requests
from panel.accounts.commands import JsonCommand
from panel.accounts.shapes import account_shape


class Command(JsonCommand):
    """Add a hosting account."""

    help = "Add a hosting account. Nothing of it is read before a schedule covers it."
    words = (
        ("name", "its name on the server"),
        ("home", "its home folder, a whole path"),
        ("system_user", "the system user its files belong to"),
        ("domain", "its main domain"),
        ("domains", "more domains, separated by commas"),
        ("owner", "the user who owns it"),
        ("reseller", "the reseller who looks after it"),
        ("package", "its package"),
        ("priority", "its priority group"),
        ("server", "the server, if there are several"),
    )
    lists = ("domains",)

    def run(self, words: dict[str, Any], target: str) -> dict[str, Any]:
        """Add it."""
        return {"account": account_shape(requests.account_add(words, actor=None))}

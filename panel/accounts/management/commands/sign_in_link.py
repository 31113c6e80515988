"""``manage.py sign_in_link``: another panel lets its user in without a second password."""

from __future__ import annotations

from typing import Any

from panel.accounts import requests
from panel.accounts.commands import JsonCommand
from panel.core.errors import Invalid


class Command(JsonCommand):
    """Make a link that signs a user in once."""

    help = "Make a link that signs a user in once, within a minute or --seconds. Not for administrators."
    target = "user"
    words = (("seconds", "how long it lives, 10 to 600"),)

    def run(self, words: dict[str, Any], target: str) -> dict[str, Any]:
        """Make it."""
        try:
            seconds = int(words.get("seconds", 60))
        except (TypeError, ValueError):
            raise Invalid("“seconds” is a whole number.") from None
        user = requests.user_named(target)
        return {"url": requests.sso_link(user, actor=None, base="", seconds=seconds), "seconds": seconds}

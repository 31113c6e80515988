"""``manage.py user_add``: another panel, or a person at the shell, adds somebody."""

from __future__ import annotations

from typing import Any

from panel.accounts import requests
from panel.accounts.commands import JsonCommand
from panel.accounts.models import SignInLink
from panel.accounts.services import links
from panel.accounts.shapes import user_shape


class Command(JsonCommand):
    """Add a user; without a password the answer holds an invitation link."""

    help = "Add a user. Give a password with --json only: options are seen by everybody on the machine."
    words = (
        ("username", "the name to sign in with"),
        ("email", "the address for invitations and new passwords"),
        ("role", "admin, reseller or end_user"),
        ("reseller", "whose customer they are"),
        ("zone", "the time zone, such as Europe/Berlin"),
    )

    def run(self, words: dict[str, Any], target: str) -> dict[str, Any]:
        """Add them."""
        user = requests.user_add(words, actor=None)
        answer: dict[str, Any] = {"user": user_shape(user)}
        if not words.get("password"):
            secret = links.link_make(user, SignInLink.Purpose.INVITATION, actor=None)
            answer["invitation"] = links.link_address(secret, SignInLink.Purpose.INVITATION)
        return answer

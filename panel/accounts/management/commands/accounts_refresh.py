"""``manage.py accounts_refresh``: list what the server's adapter knows."""

from __future__ import annotations

from typing import Any

from panel.accounts.commands import JsonCommand
from panel.accounts.models import Server
from panel.accounts.services.ground import ground_rows
from panel.accounts.services.hosting import accounts_from_system


class Command(JsonCommand):
    """Look for new accounts on this server."""

    help = "List accounts that this server has and the panel does not know yet. Nothing of theirs is read."

    def run(self, words: dict[str, Any], target: str) -> dict[str, Any]:
        """Look."""
        server = Server.objects.order_by("pk").first() or ground_rows()
        return {"new": accounts_from_system(server)}

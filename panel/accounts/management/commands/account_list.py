"""``manage.py account_list``: the hosting accounts as JSON."""

from __future__ import annotations

from typing import Any

from panel.accounts.commands import JsonCommand
from panel.accounts.models import Account, AccountStatus
from panel.accounts.shapes import account_shape
from panel.core.errors import Invalid


class Command(JsonCommand):
    """List hosting accounts."""

    help = "List hosting accounts, terminated ones only with --status terminated."
    words = (("status", "active, suspended or terminated"), ("name", "only accounts of this name"))

    def run(self, words: dict[str, Any], target: str) -> dict[str, Any]:
        """List them."""
        rows = Account.objects.select_related("owner", "reseller", "package", "priority", "server")
        status = words.get("status")
        if status and status not in AccountStatus.values:
            raise Invalid(f"“status” is one of {', '.join(AccountStatus.values)}.")
        rows = rows.filter(status=status) if status else rows.living()
        if words.get("name"):
            rows = rows.filter(name=words["name"])
        return {"accounts": [account_shape(account) for account in rows.order_by("name", "pk")]}

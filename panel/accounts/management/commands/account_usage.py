"""``manage.py account_usage``: measure what accounts use of the disk."""

from __future__ import annotations

from typing import Any

from panel.accounts import requests
from panel.accounts.commands import JsonCommand
from panel.accounts.models import Account, AccountStatus
from panel.accounts.services.hosting import usage_save
from panel.accounts.usage import UsageError, measure


class Command(JsonCommand):
    """Measure disk and inodes of accounts that have been backed up once, or of one that is named."""

    help = (
        "Measure disk and inodes: names and sizes are looked at, never contents. Without --account, accounts "
        "that no schedule has covered yet are left alone."
    )
    words = (("account", "only this account: name or uid"),)

    def run(self, words: dict[str, Any], target: str) -> dict[str, Any]:
        """Measure them."""
        measured, failed = [], []
        for account in self._accounts(words.get("account")):
            try:
                usage = measure(account.home)
            except UsageError as error:
                failed.append({"uid": account.uid, "message": str(error)})
                continue
            usage_save(account, usage.disk_bytes, usage.inodes)
            measured.append(
                {"uid": account.uid, "disk_bytes": usage.disk_bytes, "inodes": usage.inodes, "complete": usage.complete}
            )
        return {"measured": measured, "failed": failed}

    @staticmethod
    def _accounts(name: Any) -> list[Account]:
        if name:
            return [requests.account_named(str(name))]
        covered = Account.objects.filter(status=AccountStatus.ACTIVE, snapshots__isnull=False)
        return list(covered.distinct())

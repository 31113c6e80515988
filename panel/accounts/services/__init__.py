"""Verbs about people and hosting accounts, one module per idea."""

from __future__ import annotations

from panel.accounts.services.ground import first_administrator, ground_rows
from panel.accounts.services.hosting import account_add, accounts_from_system
from panel.accounts.services.users import password_reset

__all__ = ["account_add", "accounts_from_system", "first_administrator", "ground_rows", "password_reset"]

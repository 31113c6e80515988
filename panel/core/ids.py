"""Readable ids that are never used twice."""

from __future__ import annotations

import re
import secrets

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


def account_id(name: str) -> str:
    """Return a new id for an account: its name and a short random suffix, such as ``alice-7f3k``."""
    plain = re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-._") or "account"
    return f"{plain[:32]}-{''.join(secrets.choice(_LETTERS) for _ in range(4))}"


def token(size: int = 32) -> str:
    """Return a random text of ``size`` bytes for links and keys."""
    return secrets.token_urlsafe(size)

"""Seeing the panel as somebody else does: visible, audited, and without their secrets."""

from __future__ import annotations

from typing import Any

from panel.accounts.models import User
from panel.audit.services import record
from panel.core.errors import Conflict, NotAllowed

FORBIDDEN = (
    "accounts:mine", "accounts:password", "accounts:session_", "accounts:two_factor", "accounts:token_",
    "accounts:user_", "backups:schedule_key", "restores:condition", "notifications:integration",
)  # fmt: skip
"""Beginnings of the names of pages that are shut, or only to be read, while somebody acts as another."""
OWN_STORAGE = "own-kind"
"""The field by which a form gives storage of a customer's own; nobody enters it in another's name."""
READABLE = ("accounts:mine", "accounts:user_list", "accounts:user_detail")
"""Those of them that may be read."""


class NotWhileActing(NotAllowed):
    """Keys, passwords, tokens and the second factor of somebody else stay theirs."""

    code = "HF-ACTING"
    guidance = "Stop acting as this user first; what is theirs alone only they can change or see."


def check_may_act(actor: Any, user: User, *, behind: Any = None) -> None:
    """NotAllowed unless ``actor`` may see the panel as ``user``: a lower rank, their own customer, and not nested."""
    if behind is not None:
        raise Conflict("You act as somebody already; stop that first.")
    if user.rank >= actor.rank or not User.objects.managed_by(actor).filter(pk=user.pk).exists():
        raise NotAllowed("Nobody acts as somebody of the same or a higher rank.")
    if not user.is_active:
        raise Conflict(f"{user} is locked out.")


def acting_begin(actor: Any, user: User, *, behind: Any = None) -> None:
    """Note that it begins.  NotAllowed, Conflict."""
    check_may_act(actor, user, behind=behind)
    record("acting.began", actor=actor, subject=f"user:{user.username}")


def acting_end(actor: Any, user: Any) -> None:
    """Note that it ends."""
    record("acting.ended", actor=actor, subject=f"user:{user.username}")


def is_shut(view_name: str, method: str) -> bool:
    """Tell whether a page is shut while acting."""
    if not view_name.startswith(FORBIDDEN):
        return False
    return not (view_name in READABLE and method in ("GET", "HEAD", "OPTIONS"))

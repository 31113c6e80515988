"""Mails about signing in: written by whoever needs one, sealed, and sent by a worker."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from panel.accounts.models import Letter, User
from panel.core.errors import Conflict
from panel.core.sealing import Place, PublicSealer
from panel.options.selectors import option


def mail_is_configured() -> bool:
    """Tell whether a mail server is named, by the environment or in the panel."""
    return bool(settings.EMAIL_HOST or option("mail_host"))


def letter_place(number: int) -> Place:
    """Return where the text of a letter is bound to."""
    return Place("accounts_letter", "sealed", str(number))


def letter_write(user: User | None, subject: str, text: str, *, expires_at: datetime, to: str = "") -> Letter:
    """Store a mail to be sent; the worker does it within seconds.  Conflict without an address or a mail server."""
    address = to or (user.email if user else "")
    if not address or not mail_is_configured():
        raise Conflict("No mail can be sent: there is no address, or no mail server is set up.")
    return _store(Letter(user=user, to=address, subject=subject, expires_at=expires_at), text)


def order_write(text: str, *, expires_at: datetime) -> Letter:
    """Store the wish for a mail to somebody whom only the worker looks up; it has no address yet."""
    return _store(Letter(subject="", to="", expires_at=expires_at), text)


def _store(letter: Letter, text: str) -> Letter:
    sealer = PublicSealer.load(settings.PUBLIC_KEY_FILE)
    letter.due_at = timezone.now()
    with transaction.atomic():
        letter.save()
        letter.sealed = sealer.seal(letter_place(letter.pk), text)
        letter.save(update_fields=["sealed"])
    return letter


def letter_state(letter: Any) -> str:
    """Return how a letter stands, in words."""
    return f"{letter.get_state_display()}{': ' + letter.error if letter.error else ''}"

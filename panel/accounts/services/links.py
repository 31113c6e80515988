"""Links that sign somebody in once: invitations, password resets, and requests of other panels (SSO).

Only the digest of a link's secret is stored.  Using one is a conditional update, so that two clicks at the same moment
are one use.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from panel.accounts.models import SignInLink, User
from panel.accounts.services.letters import letter_write, mail_is_configured, order_write
from panel.audit.models import AuditEvent
from panel.audit.services import record
from panel.core.errors import Conflict, Invalid
from panel.core.ids import token
from panel.core.text import duration
from panel.options.selectors import option

LIFE = {
    SignInLink.Purpose.INVITATION: timedelta(days=7),
    SignInLink.Purpose.RESET: timedelta(hours=1),
    SignInLink.Purpose.SSO: timedelta(seconds=60),
}
_HERE = "http://127.0.0.1:8000"
_RESETS_PER_USER, _RESETS_PER_ADDRESS = 3, 10


class LinkUsed(Invalid):
    """The link was used, is too old, or never was."""

    code = "HF-LINK"
    status = 410
    guidance = "Ask for a new one."


def link_make(user: User, purpose: str, *, actor: Any, life: timedelta | None = None) -> str:
    """Return the secret of a new link; earlier unused ones of the same kind end.  Conflict for somebody locked out."""
    if not user.is_active:
        raise Conflict(f"{user} is locked out; let them in first.")
    kind = SignInLink.Purpose(purpose)
    secret = token()
    with transaction.atomic():
        if kind != SignInLink.Purpose.SSO:
            user.links.filter(purpose=kind, used_at=None).update(used_at=timezone.now())
        SignInLink.objects.create(
            user=user,
            purpose=kind,
            digest=_digest(secret),
            created_by=actor if getattr(actor, "pk", None) else None,
            expires_at=timezone.now() + (life or LIFE[kind]),
        )
        record(f"link.{kind}", actor=actor, subject=f"user:{user.username}")
    return secret


def link_look(secret: str, *purposes: str) -> SignInLink:
    """Return an open link without using it.  LinkUsed."""
    link = SignInLink.objects.select_related("user").filter(digest=_digest(secret), purpose__in=purposes).first()
    if link is None or link.used_at is not None or link.expires_at <= timezone.now() or not link.user.is_active:
        raise LinkUsed("This link has been used, is too old, or never was one.")
    return link


def link_use(secret: str, *purposes: str) -> User:
    """Use a link and return whose it is.  LinkUsed, also for the second of two at the same moment."""
    link = link_look(secret, *purposes)
    if not SignInLink.objects.filter(pk=link.pk, used_at=None).update(used_at=timezone.now()):
        raise LinkUsed("This link has been used, is too old, or never was one.")
    return link.user


def link_address(secret: str, purpose: str, base: str = "") -> str:
    """Return the whole address of a link.  ``base`` is what the request came by; the setting wins."""
    door = "accounts:sso" if purpose == SignInLink.Purpose.SSO else "accounts:welcome"
    return (str(option("panel_url")) or settings.PANEL_URL or base or _HERE).rstrip("/") + reverse(door, args=[secret])


def link_send(user: User, purpose: str, *, actor: Any, base: str) -> str:
    """Mail somebody a link; return its address instead when mail is not set up or they have no address."""
    secret = link_make(user, purpose, actor=actor)
    address = link_address(secret, purpose, base)
    if not user.email or not mail_is_configured():
        return address
    words = _INVITATION if purpose == SignInLink.Purpose.INVITATION else _RESET
    life = LIFE[SignInLink.Purpose(purpose)]
    text = words[1].format(name=user.username, address=address, life=_in_words(life))
    letter_write(user, words[0], text, expires_at=timezone.now() + life)
    return ""


def reset_order(name: str, *, address: str | None, base: str) -> bool:
    """Take the wish of somebody for a new password; False if this address has asked too often.

    Nobody is looked up here: the worker does it, so that neither the answer nor the time it takes tells who exists.
    """
    recent = AuditEvent.objects.filter(action="password.forgotten", at__gte=timezone.now() - timedelta(hours=1))
    if recent.filter(address=address).count() >= _RESETS_PER_ADDRESS:
        return False
    record("password.forgotten", address=address)
    order_write(json.dumps({"name": name, "base": base}), expires_at=timezone.now() + timedelta(hours=1))
    return True


def reset_answer(order: str) -> None:
    """Mail a reset link to whoever an order means, if anybody; for the worker."""
    wish: dict[str, str] = json.loads(order)
    user = _meant(wish["name"])
    if user is None or not user.email:
        return
    since = timezone.now() - timedelta(hours=1)
    if user.links.filter(purpose=SignInLink.Purpose.RESET, created_at__gte=since).count() < _RESETS_PER_USER:
        link_send(user, SignInLink.Purpose.RESET, actor=None, base=wish["base"])


def _meant(name: str) -> User | None:
    field = "email__iexact" if "@" in name else "username__iexact"
    found = list(User.objects.filter(**{field: name.strip()}, is_active=True)[:2])
    return found[0] if len(found) == 1 else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _in_words(life: timedelta) -> str:
    return "7 days" if life == timedelta(days=7) else duration(life.total_seconds())


_INVITATION = (
    "Your access to the backups",
    """You can now look into the backups of your hosting account and get files back.

Your user name: {name}
Choose a password here: {address}

The link works once, for {life}.
""",
)
_RESET = (
    "A new password",
    """Somebody, probably you, asked for a new password for the user {name}.

Choose one here: {address}

The link works once, for {life}. If it was not you, do nothing: the old password still holds.
""",
)

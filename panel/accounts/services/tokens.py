"""API tokens: made once, shown once, kept as a digest, looked up by their first part.

A token reads ``hf_<prefix>_<secret>``.  The secret has 256 random bits, so one round of SHA-256 is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from panel.accounts.models import Account, ApiToken, User
from panel.audit.services import record
from panel.core.errors import Conflict, Invalid, NotAllowed, PanelError

_USED_EVERY = timedelta(minutes=1)
_ADMIN_SCOPES = frozenset(("accounts:write", "sso"))
SCOPES = {
    "read": "Read accounts, schedules, snapshots and jobs",
    "run": "Start schedules, stop jobs",
    "accounts:write": "Add, change, suspend and end hosting accounts",
    "sso": "Make sign-in links for users",
}


class NotAuthenticated(PanelError):
    """The call has no token, or one that does not hold here.  The text never says which part is wrong."""

    code = "HF-TOKEN"
    status = 401
    guidance = "Send the header “Authorization: Bearer <token>”; the page API tokens makes one."


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who calls: ``user`` is whom the call acts as."""

    token: ApiToken
    user: User

    def allows(self, scope: str) -> bool:
        """Tell whether the token has a scope, and the person may use it at all."""
        return scope in self.token.scopes and (scope not in _ADMIN_SCOPES or self.user.is_admin)


@dataclass(frozen=True, slots=True)
class TokenData:
    """What a form says of a token; ``user`` None = any user (administrators only)."""

    description: str
    user: User | None
    scopes: Sequence[str] = ("read",)
    addresses: Sequence[str] = ()
    account: Account | None = None
    days: int | None = None


def may_have_tokens(user: Any) -> bool:
    """Tell whether somebody may make tokens: an end user needs an account whose package allows it."""
    if user.is_admin or user.is_reseller:
        return True
    return Account.objects.visible_to(user).filter(package__may_use_api=True).exists()


def token_create(data: TokenData, *, actor: Any) -> tuple[ApiToken, str]:
    """Store a token; return it with its text, which is never seen again.  Invalid, NotAllowed."""
    _check(data, actor)
    prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    with transaction.atomic():
        token = ApiToken(prefix=prefix, digest=_digest(secret), created_by=actor)
        _assign(token, data)
        token.save()
        record("token.created", actor=actor, subject=f"token:{prefix}", **_words(token))
    return token, f"hf_{prefix}_{secret}"


def token_change(token: ApiToken, data: TokenData, *, actor: Any) -> None:
    """Change everything of a token but its secret.  Invalid, NotAllowed."""
    _check(data, actor)
    with transaction.atomic():
        before = _words(token)
        _assign(token, data)
        token.save()
        after = _words(token)
        changed = {key: [before[key], after[key]] for key in after if before[key] != after[key]}
        record("token.changed", actor=actor, subject=f"token:{token.prefix}", **changed)


def token_delete(token: ApiToken, *, actor: Any) -> None:
    """Remove a token; the next call with it is refused."""
    record("token.deleted", actor=actor, subject=f"token:{token.prefix}", description=token.description)
    token.delete()


def authenticate(header: str, address: str | None) -> Bearer:
    """Return who calls.  NotAuthenticated for everything that does not hold: text, age, address, person.

    The header reads ``Bearer <token>`` or ``Bearer <user>:<token>``; a token for any user needs the second form.
    """
    refused = NotAuthenticated("The token is missing or not valid here.")
    kind, _, rest = header.strip().partition(" ")
    name, _, text = rest.strip().rpartition(":")
    parts = text.split("_", 2)
    if kind.lower() != "bearer" or len(parts) != 3 or parts[0] != "hf":
        raise refused
    token = ApiToken.objects.select_related("user", "created_by", "account").filter(prefix=parts[1]).first()
    digest = token.digest if token else "0" * 64
    if not hmac.compare_digest(digest, _digest(parts[2])) or token is None:
        raise refused
    user = _acting(token, name)
    owner = token.user or token.created_by
    alive = owner is not None and owner.is_active and (token.user is not None or owner.is_admin)
    if user is None or not user.is_active or not alive or token.is_expired or not _from_here(token, address):
        raise refused
    if not may_have_tokens(user):
        raise refused
    _note(token, address)
    return Bearer(token, user)


def _acting(token: ApiToken, name: str) -> User | None:
    if token.user is not None:
        return token.user if name.casefold() in ("", token.user.username.casefold()) else None
    return User.objects.filter(username__iexact=name).first() if name else None


def _from_here(token: ApiToken, address: str | None) -> bool:
    if not token.addresses:
        return True
    try:
        here = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    return any(here in ipaddress.ip_network(allowed, strict=False) for allowed in token.addresses)


def _note(token: ApiToken, address: str | None) -> None:
    moment = timezone.now()
    stale = Q(last_used_at=None) | Q(last_used_at__lt=moment - _USED_EVERY) | ~Q(last_used_ip=address)
    ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=moment, last_used_ip=address)


def checked_addresses(lines: Sequence[str]) -> list[str]:
    """Return addresses and networks in their plain form.  Invalid names the first that is none."""
    found: list[str] = []
    for line in lines:
        text = line.strip()
        if not text:
            continue
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise Invalid(f"“{text[:60]}” is no address and no network.") from None
        found.append(str(network.network_address) if network.num_addresses == 1 else str(network))
    return found


def _check(data: TokenData, actor: Any) -> None:
    if not data.description.strip():
        raise Invalid("Say what the token is for.")
    if not data.scopes or not set(data.scopes) <= set(SCOPES):
        raise Invalid("Choose what the token may do.")
    if not may_have_tokens(actor):
        raise NotAllowed("Your package has no API tokens.")
    if actor.is_admin:
        return
    if data.user is None or data.user.pk != actor.pk or set(data.scopes) & _ADMIN_SCOPES:
        raise NotAllowed("You make tokens for yourself only.")
    if data.account is not None and not Account.objects.visible_to(actor).filter(pk=data.account.pk).exists():
        raise Invalid("There is no such account.")


def _assign(token: ApiToken, data: TokenData) -> None:
    if data.days is not None and not 1 <= data.days <= 3650:
        raise Conflict("A token lives from 1 to 3650 days.")
    token.user, token.account = data.user, data.account
    token.description = data.description.strip()[:120]
    token.scopes, token.addresses = sorted(set(data.scopes)), checked_addresses(data.addresses)
    token.expires_at = timezone.now() + timedelta(days=data.days) if data.days else None


def _words(token: ApiToken) -> Mapping[str, Any]:
    return {
        "description": token.description,
        "user": token.user.username if token.user else "any user",
        "scopes": list(token.scopes),
        "addresses": list(token.addresses),
        "account": token.account.uid if token.account else "",
        "expires": token.expires_at.isoformat() if token.expires_at else "",
    }


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

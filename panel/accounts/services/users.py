"""People: made, changed, switched off; their passwords and sessions."""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils import timezone

from panel.accounts.models import Role, User
from panel.audit.services import record
from panel.core.errors import Conflict, Invalid, NotAllowed

_NAME = re.compile(r"[a-z0-9][a-z0-9_.@+-]{0,59}", re.IGNORECASE).fullmatch
_CHANGEABLE = ("username", "email", "role", "reseller", "zone")


def user_create(username: str, *, actor: Any, password: str | None = None, **fields: Any) -> User:
    """Store a new person; without a password nobody can sign in as them until they follow a link.

    A reseller makes customers of his own and nobody else.  Invalid, Conflict, NotAllowed.
    """
    user = User(username=username.strip(), **fields)
    if actor is not None and not actor.is_admin:
        if user.role != Role.END_USER:
            raise NotAllowed("Resellers make customers only.")
        user.reseller = actor
    _check(user)
    if password is not None:
        check_password_strength(password, user)
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save()
            record("user.created", actor=actor, subject=f"user:{user.username}", role=user.role)
    except IntegrityError:
        raise Conflict(f"There is a user “{user.username}” already.") from None
    return user


def user_change(user: User, changes: Mapping[str, Any], *, actor: Any) -> list[str]:
    """Change a person and return the names of the fields that really changed.  Invalid, Conflict, NotAllowed."""
    if actor is not None and not actor.is_admin and set(changes) & {"role", "reseller"}:
        raise NotAllowed("Only an administrator changes what somebody is.")
    was_admin, changed = user.role == Role.ADMIN, {}
    wished = copy.copy(user)
    for name in _CHANGEABLE:
        if name in changes and getattr(user, name) != changes[name]:
            changed[name] = [str(getattr(user, name) or ""), str(changes[name] or "")]
            setattr(wished, name, changes[name])
    _check(wished)
    if not changed:
        return []
    try:
        with transaction.atomic():
            if was_admin and wished.role != Role.ADMIN:
                _keep_an_administrator(user)
            for name in changed:
                setattr(user, name, changes[name])
            user.save(update_fields=list(changed))
            if "role" in changed:
                user.sessions.all().delete()
            record("user.changed", actor=actor, subject=f"user:{user.username}", **changed)
    except IntegrityError:
        raise Conflict(f"There is a user “{user.username}” already.") from None
    return list(changed)


def user_disable(user: User, *, actor: Any) -> None:
    """Lock somebody out at once: sessions end, links and tokens stop working.  Conflict for the last administrator."""
    if actor is not None and actor.pk == user.pk:
        raise Conflict("Nobody locks out themselves.")
    with transaction.atomic():
        if user.role == Role.ADMIN:
            _keep_an_administrator(user)
        User.objects.filter(pk=user.pk).update(is_active=False)
        user.sessions.all().delete()
        user.links.filter(used_at=None).update(used_at=timezone.now())
        record("user.disabled", actor=actor, subject=f"user:{user.username}")
    user.is_active = False


def user_enable(user: User, *, actor: Any) -> None:
    """Let somebody in again."""
    User.objects.filter(pk=user.pk).update(is_active=True)
    user.is_active = True
    record("user.enabled", actor=actor, subject=f"user:{user.username}")


def password_set(user: User, password: str, *, actor: Any, action: str = "password.changed", keep: str = "") -> None:
    """Give somebody a new password and end their sessions but ``keep``.  Invalid for a weak one."""
    check_password_strength(password, user)
    with transaction.atomic():
        user.set_password(password)
        user.save(update_fields=["password"])
        user.sessions.exclude(pk=keep).delete()
        user.links.filter(used_at=None).update(used_at=timezone.now())
        record(action, actor=actor, subject=f"user:{user.username}")


def password_reset(name: str) -> str:
    """Give a user a new generated password, let them in, and end their sessions; for the shell.  User.DoesNotExist.

    The second factor goes too: who can use the shell may lose a telephone.
    """
    user = User.objects.get_by_natural_key(name)
    password = secrets.token_urlsafe(12)
    with transaction.atomic():
        user.set_password(password)
        user.is_active, user.totp_secret, user.totp_since, user.recovery_codes = True, "", None, []
        user.save(update_fields=["password", "is_active", "totp_secret", "totp_since", "recovery_codes"])
        user.sessions.all().delete()
        user.links.filter(used_at=None).update(used_at=timezone.now())
        record("password.reset", subject=f"user:{user.username}", by="shell")
    return password


def sessions_end(user: User, *, actor: Any, keep: str = "") -> int:
    """End somebody's sessions but ``keep``; return how many."""
    ended: int = user.sessions.exclude(pk=keep).delete()[0]
    record("sessions.ended", actor=actor, subject=f"user:{user.username}", count=ended)
    return ended


def check_password_strength(password: str, user: User) -> None:
    """Invalid, with all reasons in one sentence each, for a password that is too weak."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise Invalid(" ".join(error.messages)) from None


def _check(user: User) -> None:
    if not _NAME(user.username):
        raise Invalid(
            "A user name is made of letters, digits and . _ - @ +, up to 60, and begins with a letter or digit."
        )
    if user.role not in Role.values:
        raise Invalid("Choose administrator, reseller or user.")
    if user.reseller is not None and (user.reseller.role != Role.RESELLER or user.role != Role.END_USER):
        raise Invalid("Only users have a reseller, and it must be one.")
    if user.email:
        try:
            validate_email(user.email)
        except ValidationError:
            raise Invalid("This is not an e-mail address.") from None
    if "@" in user.username and user.username.casefold() != user.email.casefold():
        raise Invalid("A user name with @ must be the person's own e-mail address.")


def _keep_an_administrator(user: User) -> None:
    others = User.objects.select_for_update().filter(role=Role.ADMIN, is_active=True).exclude(pk=user.pk)
    if not list(others[:1]):
        raise Conflict("This is the last administrator; make another one first.")

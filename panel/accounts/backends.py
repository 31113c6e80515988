"""Signing in by name or e-mail address."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import BaseBackend

from panel.accounts.models import User


class NameOrMailBackend(BaseBackend):
    """Knows users by name, or by an address that only one of them has."""

    def authenticate(
        self, request: Any, username: str | None = None, password: str | None = None, **_: Any
    ) -> User | None:
        """Return the user if the password is theirs."""
        if not username or password is None:
            return None
        user = self._find(username)
        if user is None:
            User().set_password(password)  # the same work, so that names cannot be told by the clock
            return None
        return user if user.check_password(password) and user.is_active else None

    def get_user(self, user_id: int) -> User | None:
        """Return an active user by number."""
        return User.objects.filter(pk=user_id, is_active=True).first()

    @staticmethod
    def _find(name: str) -> User | None:
        if "@" in name:
            found = list(User.objects.filter(email__iexact=name)[:2])
            return found[0] if len(found) == 1 else None
        return User.objects.filter(username__iexact=name).first()

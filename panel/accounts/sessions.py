"""Sessions as rows that their owners can list and end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DbStore
from django.contrib.sessions.middleware import SessionMiddleware as BaseMiddleware
from django.http import HttpRequest
from django.utils import timezone

_SEEN_EVERY = timedelta(minutes=1)


class SessionStore(DbStore):
    """Keeps the user beside the data."""

    @classmethod
    def get_model_class(cls) -> Any:
        """Return the row's class."""
        from panel.accounts.models import Session

        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        """Return a row with owner, address and browser."""
        row = super().create_model_instance(data)
        row.user_id = int(data["_auth_user_id"]) if data.get("_auth_user_id") else None
        row.address, row.agent = data.get("address"), data.get("agent", "")[:200]
        row.seen_at = timezone.now()
        old = self.get_model_class().objects.filter(pk=row.session_key).values_list("created_at", flat=True).first()
        row.created_at = old or timezone.now()
        return row


class SessionMiddleware(BaseMiddleware):
    """Notes now and then that a session is in use."""

    def process_request(self, request: HttpRequest) -> None:
        """Open the session."""
        super().process_request(request)
        key = request.COOKIES.get("holdfast_session")
        if key:
            rows = SessionStore.get_model_class().objects
            rows.filter(pk=key, seen_at__lt=timezone.now() - _SEEN_EVERY).update(seen_at=timezone.now())

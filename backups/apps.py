"""The backups app."""

from __future__ import annotations

from django.apps import AppConfig


class Config(AppConfig):
    """The app."""

    name = "backups"

    def ready(self) -> None:
        """Say what search fields can offer of this app."""
        from backups.choosing import offer_schedules

        offer_schedules()

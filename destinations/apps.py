"""The destinations app."""

from __future__ import annotations

from django.apps import AppConfig


class Config(AppConfig):
    """The app."""

    name = "destinations"

"""``manage.py reset_password NAME``: the way back in from the shell."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from panel.accounts.models import User
from panel.accounts.services import password_reset


class Command(BaseCommand):
    """Give a user a new password and end their sessions."""

    help = "Give a user a new generated password, printed once, and end their sessions."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the name."""
        parser.add_argument("name")

    def handle(self, *_: Any, **options: Any) -> None:
        """Reset it."""
        try:
            password = password_reset(options["name"])
        except User.DoesNotExist:
            raise CommandError(f"There is no user {options['name']!r}.") from None
        self.stdout.write(password)

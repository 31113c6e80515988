"""``manage.py set_up``: what a new installation, or a new release, needs before its parts start."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from panel.web import firstrun, handover


class Command(BaseCommand):
    """Make folders, keys, tables, static files, ground rows and the first administrator; harmless to repeat."""

    help = (
        "Make folders, keys, tables, static files, the first administrator. Harmless to repeat; needed after upgrades."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take whether to make the sample account."""
        parser.add_argument("--sample", action="store_true", help="also make a sample account with a schedule")

    def handle(self, *_: Any, **options: Any) -> None:
        """Make what is missing."""
        firstrun.make_folders()
        call_command("migrate", verbosity=0, interactive=False)
        call_command("collectstatic", verbosity=0, interactive=False)
        web = handover.web_user()
        if web is not None:
            handover.hand_over(web)
        password = firstrun.make_rows(sample=options["sample"])
        if password:
            self.stdout.write(f"Sign in as admin with the password {password}\nIt is not shown again.")
        self.stdout.write("Ready.")

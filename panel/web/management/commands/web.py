"""``manage.py web``: the pages."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connections


class Command(BaseCommand):
    """Become the web server; it needs no private key and should run as a user of its own."""

    help = "Serve the pages until a signal. Needs no private key: let it run as a user of its own."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take where to listen."""
        parser.add_argument("--host", default=settings.LISTEN_HOST)
        parser.add_argument("--port", type=int, default=settings.LISTEN_PORT)

    def handle(self, *_: Any, **options: Any) -> None:
        """Run."""
        connections.close_all()
        os.chdir(settings.BASE_DIR)
        os.execv(sys.executable, web_command(options["host"], options["port"]))  # noqa: S606 - no shell


def web_command(host: str, port: int) -> list[str]:
    """Return the command of the web server proper."""
    return [
        sys.executable, "-m", "granian", "--interface", "wsgi", "--host", host, "--port", str(port),
        "--workers", str(settings.WEB_PROCESSES), "--blocking-threads", "16", "--log-level", "error",
        "panel.wsgi:application",
    ]  # fmt: skip

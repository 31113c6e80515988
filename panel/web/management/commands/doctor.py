"""``manage.py doctor``: what is wrong with this installation, and what to do."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from panel.web.doctor import examine

_MARKS = {"ok": "ok      ", "warning": "warning ", "error": "WRONG   "}


class Command(BaseCommand):
    """Look at everything and say what was found; the exit status is 1 if something is wrong."""

    help = "Say what is wrong with this installation, and what to do about it."
    requires_system_checks: list[str] = []

    def handle(self, *_: Any, **__: Any) -> None:
        """Look."""
        found = examine()
        for finding in found:
            self.stdout.write(f"{_MARKS[finding.level]}{finding.what}: {finding.text}")
            if finding.step:
                self.stdout.write(f"        → {finding.step}")
        wrong = sum(finding.level == "error" for finding in found)
        if wrong:
            raise CommandError(f"{wrong} things are wrong.")
        self.stdout.write("Nothing is wrong.")

"""``manage.py up``: the whole panel in the foreground."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from panel.web import firstrun, handover, supervisor
from panel.web.announce import when_first_backup_is_there
from worker.process import only_one
from worker.reaper import reap


class Command(BaseCommand):
    """Set up what is missing, then run everything until Ctrl-C."""

    help = "Set up what is missing, then run web, worker, readers, scheduler and broker until Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take where to listen, and whether to make the sample account."""
        parser.add_argument("--host", default=settings.LISTEN_HOST)
        parser.add_argument("--port", type=int, default=settings.LISTEN_PORT)
        parser.add_argument("--no-sample", dest="sample", action="store_false", default=settings.SAMPLE)

    def handle(self, *_: Any, **options: Any) -> None:
        """Set up and run."""
        firstrun.make_folders()
        try:
            only_one(settings.DATA_DIR / "run" / "up.lock", patience=5.0)
        except BlockingIOError:
            raise CommandError(f"Holdfast is running already in {settings.DATA_DIR}.") from None
        if problem := supervisor.cannot_listen(options["host"], options["port"]):
            raise CommandError(problem)
        call_command("migrate", verbosity=0, interactive=False)
        call_command("collectstatic", verbosity=0, interactive=False)
        reap(worker="")
        # The broker starts below: until then its silence is no news.
        logging.getLogger("worker.doorbell").setLevel(logging.ERROR)
        password = firstrun.make_rows(sample=options["sample"])
        web = handover.web_user()
        if web is not None:
            web = self._hand_over(web)
        if password:
            self.stdout.write(f"\n  Sign in as  admin\n  Password    {password}\n  It is not shown again.\n")
        self.stdout.write(f"\nHoldfast is on http://{options['host']}:{options['port']}  (Ctrl-C stops it)\n")
        if password and options["sample"]:
            self.stdout.write("The sample account's first backup starts now.\n")
            when_first_backup_is_there(self._say)
        self.stdout.flush()
        sys.exit(supervisor.Supervisor(supervisor.parts(options["host"], options["port"], web)).run())

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def _hand_over(self, web: tuple[int, int]) -> tuple[int, int] | None:
        """Give the web process's user what it needs; None if it could not read the program anyway."""
        if not handover.can_read(web, settings.BASE_DIR / "manage.py"):
            self.stderr.write("The web process stays root: its own user cannot read the program's folder.\n")
            return None
        handover.hand_over(web)
        return web

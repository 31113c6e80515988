"""``manage.py integrity``: checks every repository."""

from __future__ import annotations

from backups.services.upkeep import integrity_request
from panel.web.management.commands._waiting import StartingCommand


class Command(StartingCommand):
    """Start a check of every repository."""

    help = "Start a check of every repository, its data from where the last check stopped. For cron, with --wait."
    start = staticmethod(integrity_request)

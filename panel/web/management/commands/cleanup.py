"""``manage.py cleanup``: removes what is marked long enough, and frees its space."""

from __future__ import annotations

from backups.services.upkeep import cleanup_request
from panel.web.management.commands._waiting import StartingCommand


class Command(StartingCommand):
    """Start a cleanup of every repository."""

    help = "Start a cleanup of every repository: what is marked long enough goes. For cron, with --wait."
    start = staticmethod(cleanup_request)

"""What the first start of an installation makes."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings

from backups.models import Schedule
from backups.services.schedules import ScheduleData, schedule_create, schedule_run
from destinations.models import Destination
from destinations.services import local_destination_save
from panel.accounts.models import Account, Server
from panel.accounts.services import account_add, accounts_from_system, first_administrator, ground_rows
from panel.core.sealing import MasterKey

_PAGES = {
    "public_html/index.html": "<!doctype html>\n<title>A sample site</title>\n<h1>It works</h1>\n",
    "public_html/css/site.css": "body { font-family: sans-serif; margin: 3rem; }\n",
    "public_html/notes/readme.txt": "This account belongs to the panel. Change or delete a file, then get it back.\n",
    "logs/access.log": "".join(f'203.0.113.{n % 250} - - "GET /page-{n}" 200 {n * 7}\n' for n in range(400)),
}


def make_folders() -> None:
    """Make the data folder, its parts, and the keys."""
    for path, mode in (
        (settings.DATA_DIR, 0o755),
        (settings.PUBLIC_KEY_FILE.parent, 0o755),
        (settings.DATA_DIR / "db", 0o770),
        (settings.DATA_DIR / "run", 0o770),
        (settings.LOCAL_BACKUPS_DIR, 0o700),
        (settings.WORKSPACE_DIR, 0o700),
        (settings.CACHE_DIR, 0o700),
        (settings.DOWNLOADS_DIR, 0o750),
    ):
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
    secret = settings.DATA_DIR / "secret_key"
    if not secret.exists() and not settings.SECRET_KEY_GIVEN:
        fd = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        with os.fdopen(fd, "w") as file:
            file.write(settings.SECRET_KEY)
    if not settings.MASTER_KEY_FILE.exists():
        MasterKey.generate().save(settings.MASTER_KEY_FILE, settings.PUBLIC_KEY_FILE)


def make_rows(*, sample: bool) -> str:
    """Make the ground rows, the administrator and the sample; return a new administrator's password, if any."""
    server = ground_rows()
    password = first_administrator()
    if os.geteuid() == 0:
        accounts_from_system(server)
    if not Destination.objects.exists():
        local_destination_save(actor=None, name="Local repository", path=str(settings.LOCAL_BACKUPS_DIR))
    if sample and password and not Account.objects.filter(source="sample").exists():
        _sample(server)
    return password


def _sample(server: Server) -> None:
    home = settings.DATA_DIR / "sample" / "home" / "sample"
    for name, text in _PAGES.items():
        path = Path(home) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    account = account_add(server, "sample", str(home), domain="sample.example", source="sample")
    values = {"name": "Sample, every night", "scope": "web", "frequency": "daily", "hour": 3, "retention": {"last": 14}}
    data = ScheduleData(server, account, list(Destination.objects.all()[:1]), values)
    schedule: Schedule = schedule_create(data, actor=None)
    schedule_run(schedule, trigger="scheduled")

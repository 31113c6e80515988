"""An account whose backups are real: its files in a folder, snapshots by a worker's session, pages by a reader's."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from backups.models import Repository, Schedule, Snapshot
from backups.readers import Readers
from backups.services.schedules import ScheduleData, schedule_create, schedule_run
from panel.core.errors import PanelError
from panel.core.sealing import MasterKey
from restores.choosing import Part, home_path
from restores.models import Download, Restore
from restores.services import RestoreRequest, restore_request
from worker.asking import Refused
from worker.clock import now
from worker.models import Job
from worker.run import work

FILES = {
    "public_html/index.html": b"<h1>Welcome</h1>\n",
    "public_html/shop/cart.php": b"<?php echo 1;\n",
    "logs/access.log": b"203.0.113.9 GET /\n" * 50,
    "notes.txt": b"first\n",
}


@dataclass
class Site:
    """Alice's account: ``home`` is its folder, ``snapshot`` the first one of it."""

    people: dict[str, Any]
    home: Path
    schedule: Schedule
    readers: Readers = field(default_factory=Readers)

    @property
    def account(self) -> Any:
        return self.people["alice_account"]

    @property
    def top(self) -> str:
        """The spelled path of the home in snapshots."""
        return home_path(str(self.home))

    @property
    def downloads(self) -> Path:
        """Where finished archives lie."""
        return Path(settings.DOWNLOADS_DIR)

    def back_up(self) -> Snapshot:
        """Make a snapshot, by a worker."""
        job = schedule_run(self.schedule, trigger="manual")
        self.work()
        ended(job)
        return Snapshot.objects.filter(kind="manual").latest("pk")

    def pretended(self) -> Snapshot:
        """The row of a snapshot that is nowhere, for what never opens a repository."""
        repository = Repository.objects.create(
            destination=self.people["destination"], path=self.account.uid, account=self.account
        )
        return Snapshot.objects.create(
            repository=repository, snapshot_id="a" * 64, tree="b" * 64, account=self.account, scope="web",
            components=["web"], taken_at=now(), schedule=self.schedule,
        )  # fmt: skip

    def work(self) -> None:
        """Do what waits."""
        work(self.people["server"].queue)

    def part(self, snapshot: Snapshot, *paths: str) -> Part:
        """Paths of the home as a part."""
        return Part(snapshot, tuple(f"{self.top}/{path}" if path else self.top for path in paths))

    def restore(self, snapshot: Snapshot, *paths: str, actor: str = "alice", **options: Any) -> Restore:
        """Restore paths of the home and return the row as it ended."""
        request = RestoreRequest([self.part(snapshot, *paths)], **options)
        (restore,) = restore_request(request, actor=self.people[actor])
        self.work()
        restore.refresh_from_db()
        return restore

    def ask(self, verb: str, *, user: Any, session_key: str | None = None, wait: int = 0, **fields: Any) -> Any:
        """Answer a page's question as the readers do, without a broker between."""
        try:
            return self.readers.answer({"verb": verb, "user": user.pk, "session": "", **fields})
        except PanelError as error:
            refused = Refused(str(error))
            refused.code = error.code
            raise refused from error

    def state(self) -> dict[str, str]:
        """Everything below the home: kinds, modes, contents, times of files."""
        return dict(described(self.home))


def described(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each item's path and what it is."""
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        kind = stat.S_IFMT(info.st_mode)
        what = f"{kind:o} {info.st_mode & 0o7777:o} {info.st_uid}:{info.st_gid}"
        if path.is_symlink():
            what += f" -> {os.readlink(path)}"
        elif path.is_file():
            what += f" {info.st_mtime_ns} {sha256(path.read_bytes()).hexdigest()}"
        yield os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace"), what


def ended(job: Job) -> Job:
    """The job as it ended; its log, if it did not end well."""
    job.refresh_from_db()
    assert job.state in ("success", "warning"), [job.error, *job.log.values_list("text", flat=True)]
    return job


def write(home: Path, files: dict[str, bytes]) -> None:
    """Write files below a folder."""
    for name, content in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def site(people: dict[str, Any], keys: MasterKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An account with files and a schedule, and a panel whose folders are below a temporary one."""
    for name in ("DOWNLOADS_DIR", "WORKSPACE_DIR", "CACHE_DIR"):
        (tmp_path / name.lower()).mkdir()
        monkeypatch.setattr(settings, name, tmp_path / name.lower())
    home = tmp_path / "home" / "alice"
    write(home, FILES)
    account = people["alice_account"]
    account.home = str(home)
    account.save()
    destination = people["destination"]
    destination.config = {"kind": "local", "path": str(tmp_path / "backups")}
    destination.save()
    values = {"name": "Every night", "scope": "web", "frequency": "daily", "hour": 3, "retention": {"last": 50}}
    schedule = schedule_create(ScheduleData(people["server"], account, [destination], values), actor=people["root"])
    made = Site(people, home, schedule)
    for module in ("backups.views.snapshots", "restores.views.restore"):
        monkeypatch.setattr(f"{module}.ask", made.ask)
    try:
        yield made
    finally:
        made.readers.close()


@contextmanager
def signed_in(people: dict[str, Any], name: str) -> Iterator[Client]:
    """A browser of somebody."""
    client = Client()
    client.force_login(people[name], backend="panel.accounts.backends.NameOrMailBackend")
    yield client


def downloads() -> list[Download]:
    """Every download there is."""
    return list(Download.objects.order_by("pk"))

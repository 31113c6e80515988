"""What is wrong with an installation: each look is a function that says what it found and what to do."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from destinations.models import Destination
from panel.accounts.models import Role, User
from panel.core.sealing import MasterKey, PublicSealer, SealError
from panel.core.text import ago, size
from panel.options.selectors import options
from panel.settings import env
from worker.asking import client
from worker.beats import QUIET, SCHEDULER, last_beat
from worker.doorbell import answering
from worker.models import JobItem
from worker.room import Room
from worker.states import State

Level = Literal["ok", "warning", "error"]
_PATIENCE = timedelta(hours=1)
_CLOCK_SECONDS = 5.0
_OLDEST = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``step`` says what to do about it."""

    level: Level
    what: str
    text: str
    step: str = ""


def examine() -> list[Finding]:
    """Look at everything; what cannot be looked at because something else is wrong is left out."""
    found = [*_settings(), *_folders(), *_keys(), *_broker()]
    database = _database()
    found += database
    if any(finding.level == "error" for finding in database):
        return found
    return [*found, *_clock(), *_rooms(), *_workers(), *_people()]


def _settings() -> Iterator[Finding]:
    unknown = env.unknown()
    if unknown:
        yield Finding("warning", "Settings", f"Nothing reads {', '.join(unknown)}.", "Look for a typing error.")
    if settings.DEBUG:
        yield Finding(
            "error", "Settings", "HOLDFAST_DEBUG is on: errors show the program to everybody.", "Take it out."
        )
    if not settings.PRODUCTION:
        text = "HOLDFAST_PRODUCTION is off: fine for one machine behind no network, not for a server."
        yield Finding("warning", "Settings", text, "Set HOLDFAST_PRODUCTION=yes on a server; docs/install.md says how.")
    manifest = settings.STATIC_ROOT / "staticfiles.json"
    if not manifest.exists():
        yield Finding(
            "error", "Static files", f"{manifest} is missing: pages have no style.", "manage.py collectstatic"
        )


def _folders() -> Iterator[Finding]:
    secret = (settings.MASTER_KEY_FILE.parent, settings.LOCAL_BACKUPS_DIR, settings.WORKSPACE_DIR, settings.CACHE_DIR)
    for folder in (settings.DATA_DIR, *secret, settings.DOWNLOADS_DIR):
        try:
            mode = stat.S_IMODE(folder.stat().st_mode)
        except FileNotFoundError:
            yield Finding("error", "Folders", f"{folder} is missing.", "manage.py set_up makes it.")
            continue
        except PermissionError:
            continue
        if folder in secret and mode & 0o007:
            text = f"{folder} can be read by everybody on this server (mode {mode:o})."
            yield Finding("error", "Folders", text, f"chmod 700 {folder}")


def _keys() -> Iterator[Finding]:
    try:
        public = settings.PUBLIC_KEY_FILE.read_text().strip()
        PublicSealer.load(settings.PUBLIC_KEY_FILE)
    except (OSError, ValueError, SealError) as error:
        yield Finding(
            "error", "Keys", f"The public key cannot be used: {error}.", "manage.py set_up, or bring it back."
        )
        return
    private: Path = settings.MASTER_KEY_FILE
    try:
        mode = stat.S_IMODE(private.stat().st_mode)
        key = MasterKey.read(private)
    except (FileNotFoundError, SealError):
        if private.exists():
            yield Finding("error", "Keys", f"{private} cannot be read as a key.", "Bring the file back from its copy.")
        else:
            text = f"{private} is missing: no worker can open a destination or a repository."
            yield Finding("error", "Keys", text, "Bring it back from its copy; nothing else can open what is stored.")
        return
    except PermissionError:
        yield Finding("ok", "Keys", "This user cannot read the master key, as it should be for the web.")
        return
    if mode & 0o077:
        yield Finding("error", "Keys", f"{private} is open to others (mode {mode:o}).", f"chmod 600 {private}")
    if key.public_text() != public:
        text = f"{settings.PUBLIC_KEY_FILE} does not belong to {private}: what is saved now can never be opened."
        yield Finding("error", "Keys", text, "Bring back the pair that belongs together.")
    elif not mode & 0o077:
        yield Finding("ok", "Keys", f"The master key {key.key_id} is there, for its owner alone.")


def _broker() -> Iterator[Finding]:
    try:
        with client() as broker:
            info: Any = broker.info()
    except (redis.RedisError, ValueError) as error:
        step = "Start Redis or Valkey, or correct HOLDFAST_REDIS_URL. Nothing is lost: the scheduler rings again."
        yield Finding("error", "Broker", f"It does not answer: {_plain(error)}.", step)
        return
    version = info.get("valkey_version") or info.get("redis_version")
    yield Finding("ok", "Broker", f"It answers (version {version}).")
    if info.get("maxmemory_policy", "noeviction") != "noeviction":
        text = f"It throws messages away when memory is short ({info['maxmemory_policy']})."
        yield Finding("warning", "Broker", text, "Set maxmemory-policy noeviction.")


def _database() -> list[Finding]:
    try:
        connection.ensure_connection()
        plan = MigrationExecutor(connection).migration_plan(MigrationExecutor(connection).loader.graph.leaf_nodes())
    except DatabaseError as error:
        step = "Start the database, or correct HOLDFAST_DATABASE_URL and its password."
        return [Finding("error", "Database", f"It does not answer: {_plain(error)}.", step)]
    if plan:
        names = ", ".join(f"{migration.app_label} {migration.name}" for migration, _ in plan[:5])
        text = f"{len(plan)} migrations are missing: {names}{', …' if len(plan) > 5 else ''}."
        return [Finding("error", "Database", text, "manage.py migrate")]
    found = [Finding("ok", "Database", f"{connection.display_name} answers and is up to date.")]
    if settings.PRODUCTION and connection.vendor == "sqlite":
        text = "SQLite serves one machine and a few hundred accounts."
        found.append(Finding("warning", "Database", text, "For more, name a PostgreSQL in HOLDFAST_DATABASE_URL."))
    return found


def _clock() -> Iterator[Finding]:
    if timezone.now() < _OLDEST:
        yield Finding("error", "Clock", f"This server thinks it is {timezone.now():%Y-%m-%d}.", "Set the clock.")
        return
    before = time.time()
    others = {}
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
            others["the database"] = float(cursor.fetchone()[0])
    try:
        with client() as broker:
            seconds, micros = broker.time()  # type: ignore[misc]
            others["the broker"] = seconds + micros / 1e6
    except redis.RedisError:
        pass
    for name, moment in others.items():
        if abs(moment - before) > _CLOCK_SECONDS:
            text = f"The clock of {name} differs by {abs(moment - before):.0f} s from this server's."
            yield Finding("error", "Clock", text, "Let both follow the same time servers; schedules and locks need it.")
    if all(abs(moment - before) <= _CLOCK_SECONDS for moment in others.values()):
        yield Finding("ok", "Clock", "All clocks agree.")


def _rooms() -> Iterator[Finding]:
    percent = int(options("free_percent")["free_percent"])
    places = [Room("the panel's data", settings.DATA_DIR, 2), Room("the workspace", settings.WORKSPACE_DIR, 2),
              Room("downloads", settings.DOWNLOADS_DIR, 2)]  # fmt: skip
    for row in Destination.objects.filter(kind="local", is_enabled=True):
        if row.config.get("path"):
            places.append(Room(f"backups at {row.name}", Path(row.config["path"]), percent))
    full = [problem for place in places if (problem := place.problem())]
    for problem in full:
        yield Finding("error", "Disks", problem, "Free some space, add a disk, or let a cleanup run.")
    if not full:
        usage = os.statvfs(settings.DATA_DIR)
        yield Finding("ok", "Disks", f"{size(usage.f_bavail * usage.f_frsize)} are free for the panel's data.")


def _workers() -> Iterator[Finding]:
    seen = last_beat(SCHEDULER)
    moment = timezone.now()
    if seen is None or moment - seen.seen_at > QUIET:
        when = ago(seen.seen_at, moment) if seen else "never"
        text = f"Last seen: {when}. No schedule starts by itself."
        yield Finding("error", "Scheduler", text, "Start it: manage.py scheduler.")
    else:
        yield Finding("ok", "Scheduler", f"Seen {ago(seen.seen_at, moment)}.")
    names = answering(2.0)
    if names:
        yield Finding("ok", "Workers", f"{', '.join(names)} answer.")
    else:
        text = "None answers: backups and restores wait."
        yield Finding("error", "Workers", text, "Start one: manage.py worker; its log says why if it does not stay.")
    waiting = JobItem.objects.filter(state=State.PENDING, job__created_at__lt=moment - _PATIENCE)
    stuck = waiting.filter(not_before=None, waits_for="").count()
    if stuck and names:
        text = f"{stuck} items have waited for more than an hour without a reason."
        yield Finding("warning", "Queue", text, "Look at the Queue page; perhaps starting is paused.")


def _people() -> Iterator[Finding]:
    if not User.objects.filter(role=Role.ADMIN, is_active=True).exists():
        yield Finding("error", "People", "There is no administrator.", "manage.py set_up, or manage.py reset_password.")


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")

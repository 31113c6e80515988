"""Runs inside an installation under test: takes calls as lines on standard input, answers as lines."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test.utils import override_settings  # noqa: E402

from backups.models import IntegrityCheck, MarkedWhy, Repository, Schedule, Snapshot  # noqa: E402
from backups.services.schedules import ScheduleData, schedule_create, schedule_run  # noqa: E402
from backups.services.upkeep import integrity_request, upkeep_tick  # noqa: E402
from destinations.models import Destination  # noqa: E402
from panel.accounts.models import Account, Server, User  # noqa: E402
from panel.accounts.services import account_add  # noqa: E402
from panel.core.sealing import MasterKey  # noqa: E402
from panel.options.models import Option  # noqa: E402
from panel.web import firstrun, supervisor  # noqa: E402
from restores.choosing import Part, home_path  # noqa: E402
from restores.models import HomeLock, Restore  # noqa: E402
from restores.services import RestoreRequest, restore_request  # noqa: E402
from worker.claim import claim_next  # noqa: E402
from worker.clock import now  # noqa: E402
from worker.doorbell import ring  # noqa: E402
from worker.enqueue import ItemRequest, JobRequest, job_enqueue  # noqa: E402
from worker.finish import Outcome, item_finish, job_cancel  # noqa: E402
from worker.models import Attempt, Event, Job, JobItem  # noqa: E402
from worker.states import Kind, State  # noqa: E402


def set_up() -> dict[str, list[str]]:
    """Make folders, tables and ground rows; return the commands of the parts."""
    firstrun.make_folders()
    call_command("migrate", verbosity=0, interactive=False)
    firstrun.make_rows(sample=False)
    return {part.name: part.command for part in supervisor.parts("127.0.0.1", 0, None)}


def collect() -> None:
    """Put the static files where the web server takes them from, once; without compressing them, which takes long."""
    if (settings.STATIC_ROOT / "staticfiles.json").exists():
        return
    plain = {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}
    with override_settings(STORAGES=settings.STORAGES | {"staticfiles": plain}):
        call_command("collectstatic", verbosity=0, interactive=False)


def tidy() -> None:
    """Forget all jobs, schedules and settings; what is in repositories stays."""
    Restore.objects.all().delete()
    Snapshot.objects.all().delete()
    Job.objects.all().delete()
    Schedule.objects.all().delete()
    Event.objects.all().delete()
    IntegrityCheck.objects.all().delete()
    Repository.objects.all().delete()
    for folder in Path(settings.LOCAL_BACKUPS_DIR).iterdir():
        shutil.rmtree(folder)
    Option.objects.all().delete()
    Destination.objects.exclude(kind="local").delete()
    pace(0)


def pace(rate: int) -> None:
    """Let backups take their time: write at most so many bytes a second to local destinations; 0 = no limit."""
    for row in Destination.objects.filter(kind="local"):
        row.config = row.config | {"up": rate, "down": 0}
        row.save()


def account(name: str, home: str) -> int:
    """Add an account, or move it."""
    known = Account.objects.filter(name=name).first()
    if known is not None:
        Account.objects.filter(pk=known.pk).update(home=home)
        return known.pk
    return int(account_add(Server.objects.get(), name, home).pk)


def schedule(name: str, account: int, **values: Any) -> int:
    fields = {"name": name, "scope": "web", "frequency": "daily", "hour": 3, "retention": {"last": 5}} | values
    data = ScheduleData(
        Server.objects.get(), Account.objects.get(pk=account), list(Destination.objects.filter(kind="local")), fields
    )
    return int(schedule_create(data, actor=None).pk)


def own(account: int, user: int) -> None:
    """Give an account a system user."""
    Account.objects.filter(pk=account).update(system_uid=user, system_gid=user)


def restore(account: int, rate: int) -> int:
    """Start a restore of a whole home from its newest snapshot, at so many bytes a second; return its job."""
    for row in Destination.objects.filter(kind="local"):
        row.config = row.config | {"down": rate}
        row.save()
    snapshot = Snapshot.objects.filter(account=account).latest("taken_at")
    part = Part(snapshot, (home_path(snapshot.account.home),))
    (made,) = restore_request(
        RestoreRequest([part], overwrite="always", safety=False), actor=User.objects.filter(role="admin")[0]
    )
    return int(made.job_id)


def locked_homes() -> int:
    return HomeLock.objects.count()


def run(schedule: int) -> int:
    return int(schedule_run(Schedule.objects.get(pk=schedule)).pk)


def job(number: int) -> dict[str, Any]:
    """Return what the rows of a job say."""
    row = Job.objects.get(pk=number)
    items = [
        {"state": item.state, "tries": item.tries, "bytes": item.bytes_done, "error": item.error,
         "current": item.current,
         "waits_for": item.waits_for, "code": item.error_code, "result": item.result,
         "attempts": [[each.outcome, each.worker, each.lock_id] for each in item.attempts.order_by("number")]}
        for item in row.items.all()
    ]  # fmt: skip
    return {
        "state": row.state,
        "error": row.error,
        "items": items,
        "log": list(row.log.values_list("text", flat=True)),
        "took": (row.finished_at - row.cancel_at).total_seconds() if row.finished_at and row.cancel_at else None,
        "snapshots": list(row.snapshots.values_list("snapshot_id", flat=True)),
    }


def jobs() -> list[dict[str, Any]]:
    return [
        {"id": row.pk, "kind": row.kind, "state": row.state, "trigger": row.trigger}
        for row in Job.objects.order_by("id")
    ]


def cancel(number: int) -> bool:
    return job_cancel(Job.objects.get(pk=number), by="test")


def due(schedule: int, days: float) -> None:
    """Move a schedule's next run into the past."""
    Schedule.objects.filter(pk=schedule).update(next_run_at=now() - timedelta(days=days))


def overdue(schedule: int) -> dict[str, Any]:
    row = Schedule.objects.get(pk=schedule)
    kinds = list(Event.objects.filter(subject=f"schedule:{schedule}").values_list("kind", flat=True))
    return {"since": str(row.overdue_since or ""), "later": row.next_run_at > now(), "events": kinds}  # type: ignore[operator]


def ring_often(times: int) -> None:
    for _ in range(times):
        ring("server.local")


def option(key: str, value: Any) -> None:
    Option.objects.update_or_create(key=key, defaults={"value": value})


def locks() -> list[str]:
    """Return the names of the lock objects in local repositories."""
    found = Path(settings.LOCAL_BACKUPS_DIR).glob("*/locks/*")
    return sorted(path.name for path in found if len(path.name) == 64)


def empty_jobs(count: int) -> None:
    """Enqueue items that nobody's lease stops."""
    items = [ItemRequest(label=str(number)) for number in range(count)]
    job_enqueue(JobRequest(kind=Kind.BACKUP, name="many", server=Server.objects.get(), items=items))


def claim_all(worker: str, at_once: bool = False) -> list[int]:
    """Claim and finish until nothing is left; return the items in order.

    ``at_once`` ends each when the next half second begins, as others do.
    """
    mine: list[int] = []
    server = Server.objects.get().pk
    idle = 0
    while idle < 20:
        claim = claim_next(worker, server)
        if claim is None:
            idle += 1
            continue
        idle = 0
        mine.append(claim.item.pk)
        if at_once:
            time.sleep(0.5 - time.time() % 0.5)
        item_finish(claim, Outcome(State.SUCCESS))
    return mine


def left() -> int:
    return JobItem.objects.filter(state__in=("pending", "running")).count()


def attempts() -> int:
    return Attempt.objects.count()


def snapshots() -> int:
    return Snapshot.objects.present().count()


def mark(days: float, count: int = 1) -> None:
    """Mark the oldest snapshots that are there, as retention does, so many days ago."""
    rows = Snapshot.objects.present().order_by("taken_at").values_list("pk", flat=True)[:count]
    moment = now() - timedelta(days=days)
    Snapshot.objects.filter(pk__in=list(rows)).update(marked_at=moment, marked_why=MarkedWhy.RETENTION)


def damaged() -> dict[str, int]:
    return {
        "snapshots": Snapshot.objects.exclude(damaged_at=None).count(),
        "repositories": Repository.objects.filter(is_damaged=True).count(),
    }


def schedules() -> list[int]:
    return list(Schedule.objects.order_by("pk").values_list("pk", flat=True))


def stop_check_after(packs: int) -> None:
    """Leave the row that a check leaves which ran out of time after so many packs."""
    repository = Repository.objects.get()
    names = sorted(path.name for path in Path(settings.LOCAL_BACKUPS_DIR).glob("*/data/*/*"))
    IntegrityCheck.objects.create(
        repository=repository, started_at=now(), is_clean=True,
        position={"repository": repository.repository_id, "after": names[packs - 1]},
    )  # fmt: skip


def upkeep(times: int) -> list[str]:
    """Tick so often at noon of tomorrow; return the kinds of the jobs it made."""
    moment = now().replace(hour=12) + timedelta(days=1)
    return [str(job.kind) for _ in range(times) for job in upkeep_tick(moment)]


def integrity() -> int:
    return int(integrity_request()[0].pk)


def claim_one() -> int | None:
    claim = claim_next("elsewhere/1", Server.objects.get().pk)
    return claim.item.pk if claim else None


def password(name: str, text: str) -> None:
    user = User.objects.get(username=name)
    user.set_password(text)
    user.save()


def secrets_of_installation() -> list[str]:
    """Return every secret in the clear, opened with the master key."""
    from backups.keys import schedule_place

    key = MasterKey.read(settings.MASTER_KEY_FILE)
    texts = [key.open(schedule_place(row.pk), row.sealed_key) for row in Schedule.objects.exclude(sealed_key="")]
    return [*texts, settings.MASTER_KEY_FILE.read_text().strip(), settings.SECRET_KEY]


CALLS: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        set_up, collect, tidy, pace, account, schedule, run, job, jobs, cancel, due, overdue, ring_often, option, locks,
        empty_jobs, claim_all, mark, damaged, schedules, stop_check_after, upkeep, integrity, claim_one, left,
        attempts, snapshots, own, restore, locked_homes,
        password, secrets_of_installation,
    )
}  # fmt: skip


def main() -> None:
    """Answer until standard input ends."""
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer: dict[str, Any] = {"result": CALLS[call["name"]](**call["args"])}
        except Exception:  # noqa: BLE001 - told to the test
            answer = {"error": traceback.format_exc()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

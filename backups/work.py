"""What a worker does for backups."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from backups.homes import CODE as HOLLOW
from backups.homes import GUIDANCE as HOLLOW_GUIDANCE
from backups.homes import HomeNow, home_now, why_hollow
from backups.models import Repository, Schedule, Snapshot, SnapshotKind
from backups.records import Origin, snapshot_record
from backups.retention import apply_retention
from backups.running import Running, SessionRunner, failure
from backups.selectors import COMPONENTS
from backups.specs import backup_command, kind_of, parent_of
from destinations.models import Destination, DestinationKind
from panel.options.selectors import number
from worker.claim import Claim
from worker.context import Figures
from worker.finish import Outcome, item_finish
from worker.joblog import log_line
from worker.room import CODE, GUIDANCE, Room, first_problem
from worker.states import State
from worker.turns import my_turn, turn_over


class BackupPlan:
    """Backs up one account an item."""

    def __init__(self, schedule: Schedule, repository: Repository, kind: str) -> None:
        self._schedule = schedule
        self._repository = repository
        self._kind = kind
        self._before: dict[int, tuple[HomeNow, Snapshot | None]] = {}

    def begin(self, running: Running) -> None:
        """Send the backup."""
        account = running.claim.item.account
        parent = send_backup(running, self._schedule, self._repository, self._kind)
        here = account is not None and "web" in COMPONENTS.get(self._schedule.scope, ())
        self._before[running.claim.item.pk] = (home_now(account) if here and account else HomeNow(), parent)

    def ended(self, running: Running, status: int) -> Outcome:
        """Store the snapshot's row and say how it went."""
        saved = running.last("saved")
        if saved is None or not saved["snapshot"]:
            return failure(running.error)
        item, schedule = running.claim.item, self._schedule
        components = list(COMPONENTS.get(schedule.scope, ()))
        home, parent = self._before.get(item.pk, (HomeNow(), None))
        hollow = why_hollow(home, saved["files"], parent) if "web" in components else ""
        origin = Origin(
            self._kind, schedule.scope, components, item.account, schedule, mount=home.mount, is_hollow=bool(hollow)
        )
        snapshot = snapshot_record(saved, origin, item, self._repository)
        running.context.log(f"saved snapshot {snapshot.short} in {saved['seconds']:.1f} s")
        running.context.progress(Figures(saved["size"], saved["size"], saved["files"]))
        result = {name: saved[name] for name in _FIGURES} | {"snapshot": snapshot.pk, "short": snapshot.short}
        if hollow:
            running.context.log(f"{hollow} ({HOLLOW})", level="warning")
            return Outcome(State.WARNING, result, HOLLOW, hollow, HOLLOW_GUIDANCE, saved["problems"] + 1)
        if status != 0:
            return Outcome(
                State.WARNING,
                result,
                code="HF-SOURCE",
                error=f"{saved['problems']} items could not be read and are not in the snapshot.",
                guidance="The log names them; the next run tries them again.",
                warnings=saved["problems"],
            )
        return Outcome(State.SUCCESS, result)


_FIGURES = ("size", "files", "files_new", "files_changed", "files_unmodified", "data_added", "seconds")


def send_backup(running: Running, schedule: Schedule, repository: Repository, kind: str) -> Snapshot | None:
    """Send the command that backs up the item's account; return the snapshot it is compared with."""
    account = running.claim.item.account
    if account is None:
        raise LookupError("the account of this item is gone")
    parent = parent_of(repository.pk, account, schedule.scope)
    if parent is not None:
        running.context.log(f"parent snapshot {parent.short}")
    running.session.send(**backup_command(running.claim.item.pk, account, schedule, kind, parent))
    return parent


def run_backup(claim: Claim) -> None:
    """Work off the items of a backup job at one repository."""
    schedule = Schedule.objects.select_related("server").get(pk=claim.item.job.spec["schedule"])
    repository = Repository.objects.select_related("destination").get(pk=claim.item.spec["repository"])
    kind = kind_of(claim.item.job.spec.get("kind", SnapshotKind.MANUAL))
    if skipped := _not_used(repository.destination):
        item_finish(claim, Outcome(State.SKIPPED, code="HF-DESTINATION-OFF", error=skipped))
        return
    if full := first_problem(*rooms_for(repository.destination)):
        log_line(claim.item.job, claim.item, full, level="error")
        item_finish(claim, Outcome(State.FAILED, code=CODE, error=full, guidance=GUIDANCE))
        return
    if not repository.repository_id:
        # Two that made the repository at one time would each lock the other one out of it.
        if not my_turn(claim, repository.birth, "the repository is being made by"):
            return
        repository.refresh_from_db(fields=["repository_id", "sealed_key"])
    if repository.repository_id:
        turn_over(claim, repository.birth)
    SessionRunner(claim, repository, schedule, BackupPlan(schedule, repository, kind)).run()
    apply_retention(schedule, repository=repository)


def rooms_for(destination: Destination) -> list[Room]:
    """Return the places that need room before a backup to a destination starts: the workspace, and a local disk."""
    rooms = [Room("the workspace", settings.WORKSPACE_DIR), Room("the cache", settings.CACHE_DIR)]
    if destination.kind == DestinationKind.LOCAL and destination.config.get("path"):
        folder = Path(destination.config["path"])
        rooms.append(Room(f"backups at {destination.name}", folder, percent=number("free_percent")))
    return rooms


def _not_used(destination: Destination) -> str:
    """Return why nothing is backed up to a destination now, or nothing."""
    if destination.removed_at is not None:
        return f"{destination.name} was removed: nothing was stored there."
    if not destination.is_enabled:
        return f"{destination.name} is disabled: nothing was stored there."
    if destination.read_only:
        return f"{destination.name} is read-only: nothing was stored there."
    return ""

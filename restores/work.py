"""What a worker does for restores and downloads."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings

from backups.engine import NothingToSave
from backups.models import Repository, Schedule
from backups.records import snapshot_record
from backups.running import CANCELED, Running, SessionRunner, failure
from panel.core.errors import PanelError
from panel.core.text import count
from panel.options.selectors import number
from restores import placing
from restores.choosing import Part, home_path, is_inside, stored_parts
from restores.downloads import make_room
from restores.handing import Stopped, hand_out
from restores.listing import list_command, listed, must_be_listed
from restores.locking import StaysOpen, home_lock, home_unlock
from restores.models import Download, PackageChoice, Restore, Target
from restores.packages import check_package, package_restore, package_undo
from restores.placing import archive_parts, commands, placing_of
from restores.safety import safety_command, safety_origin
from worker.claim import Claim
from worker.clock import now
from worker.context import Figures
from worker.finish import Outcome, item_finish
from worker.room import CODE, GUIDANCE, Room, first_problem
from worker.states import State
from worker.turns import my_turn

_SUMMED = ("files_restored", "files_unchanged", "files_skipped", "deleted", "failed", "size", "seconds")
_KEEP_FREE = 256 << 20


class RestorePlan:
    """A safety snapshot of what will be touched, if it is wanted, then one command after the other."""

    def __init__(self, restore: Restore, repository: Repository, parts: list[Part]) -> None:
        self._restore = restore
        self._repository = repository
        self._parts = parts
        how = placing_of(restore)
        check_package(restore.package, parts, in_place=restore.target == Target.IN_PLACE, by_admin=how.by_admin)
        self._left = commands(how, parts)
        in_place = restore.target == Target.IN_PLACE and restore.undo_of_id is None
        self._unlisted = must_be_listed(parts, in_place=in_place)
        self._sums: dict[str, float] = dict.fromkeys(_SUMMED, 0)

    def begin(self, running: Running) -> None:
        """Send the first command."""
        if self._unlisted:
            running.step = "list"
            running.session.send(item=running.claim.item.pk, **list_command(self._unlisted[0]))
        else:
            self._begin(running)

    def _begin(self, running: Running) -> None:
        if running.claim.item.job.spec.get("safety") and self._restore.safety_id is None:
            running.step = "safety"
            running.context.log("taking a safety snapshot of what will be touched")
            running.session.send(**safety_command(running.claim.item.pk, self._restore, self._parts))
        else:
            self._next(running)

    def ended(self, running: Running, status: int) -> Outcome | None:
        """Go on with the next command, or say how it went."""
        if running.step == "list":
            return self._after_list(running)
        if running.step == "safety":
            return self._after_safety(running, status)
        done = running.last("restored")
        if running.step == "package":
            return self._after_package(running)
        if done is None:
            return self._stopped(running)
        running.said.clear()
        for name in _SUMMED:
            self._sums[name] += done[name]
        if self._left:
            return self._next(running)
        home_unlock(self._restore.account)
        if self._restore.package == PackageChoice.BACKED_UP and not running.stopping and not running.session.ended:
            running.step = "package"
            running.session.send(do="about", item=running.claim.item.pk, snapshot=self._parts[0].snapshot.snapshot_id)
            return None
        return self._outcome(running, self._changed(running, package_undo, self._restore))

    def _after_package(self, running: Running) -> Outcome:
        """Give the account the package of the backup; the files are restored in any case."""
        said = running.last("about")
        if said is None:
            return self._stopped(running)
        return self._outcome(running, self._changed(running, package_restore, self._restore, said["package"]))

    @staticmethod
    def _changed(running: Running, change: Callable[..., str], *args: Any) -> PanelError | None:
        """Change the account's package and log what was done; return what was in the way."""
        try:
            done = change(*args)
        except PanelError as error:
            running.context.log(str(error), level="warning")
            return error
        if done:
            running.context.log(done)
        return None

    def _locked(self, running: Running, command: dict[str, Any]) -> dict[str, Any]:
        """Lock the home if files come back in place into it; return what the command says of that."""
        account = self._restore.account
        if self._restore.target != Target.IN_PLACE or not is_inside(command["folder"], home_path(account.home)):
            return {}
        try:
            lift = home_lock(account, running.claim.item)
        except StaysOpen as why:
            if str(why):
                running.context.log(f"the home is not locked: {why}")
            return {}
        except (NothingToSave, OSError):
            return {}  # The restore itself says what is wrong with the home.
        running.context.log("the home is locked until the restore has ended")
        return {"lift": lift and "user" in command}

    def _outcome(self, running: Running, package: PanelError | None = None) -> Outcome:
        sums = self._sums
        running.context.progress(Figures(int(sums["size"]), int(sums["size"]), int(sums["files_restored"])))
        result: dict[str, Any] = {name: int(value) if name != "seconds" else value for name, value in sums.items()}
        if failed := int(sums["failed"]):
            text = f"{failed:,} item{'s' if failed > 1 else ''} could not be restored."
            return Outcome(State.WARNING, result, "HF-TARGET", text, "The log names them and says why.", failed)
        if package is not None:
            return Outcome(State.WARNING, result, package.code, str(package), package.guidance, 1)
        return Outcome(State.SUCCESS, result)

    def _stopped(self, running: Running) -> Outcome:
        outcome = failure(CANCELED if running.stopping and running.error is None else running.error)
        if self._restore.safety_id and outcome.state in (State.FAILED, State.ABORTED):
            outcome = Outcome(
                outcome.state, outcome.result, outcome.code, outcome.error,
                f"{outcome.guidance} What was replaced until then can be undone.".strip(),
            )  # fmt: skip
        return outcome

    def _after_list(self, running: Running) -> Outcome | None:
        """Go on with single files of configuration instead of its folders."""
        if running.last("listed") is None:
            return self._stopped(running)
        part = self._unlisted.pop(0)
        try:
            self._parts = [listed(part, running.said) if one is part else one for one in self._parts]
        except PanelError as error:
            return _refused(error)
        running.said.clear()
        self._restore.parts = [one.stored() for one in self._parts]
        self._restore.save(update_fields=["parts"])
        self._left = commands(placing_of(self._restore), self._parts)
        self.begin(running)
        return None

    def _after_safety(self, running: Running, status: int) -> Outcome | None:
        saved = running.last("saved")
        if saved is None or not saved["snapshot"]:
            outcome = failure(running.error)
            if outcome.state == State.ABORTED:
                return outcome
            return Outcome(
                State.FAILED,
                code="HF-SAFETY",
                error=f"Nothing was restored: the safety snapshot failed. {outcome.error}",
                guidance="Restore again with the safety snapshot switched off, if you can do without Undo.",
            )
        snapshot = snapshot_record(saved, safety_origin(self._restore), running.claim.item, self._repository)
        self._restore.safety, self._restore.safety_whole = snapshot, status == 0
        self._restore.save(update_fields=["safety", "safety_whole"])
        running.context.log(f"safety snapshot {snapshot.short} is stored")
        if status != 0:
            running.context.log("it has gaps: an undo will not delete anything", level="warning")
        running.said.clear()
        return self._next(running)

    def _next(self, running: Running) -> Outcome | None:
        """Send the next command, unless somebody asked to stop in between, or nothing takes it any more."""
        if running.stopping or running.session.ended:
            return self._stopped(running)
        running.step = "restore"
        running.context.progress(Figures())
        command = self._left.pop(0)
        command |= self._locked(running, command)
        what = count(len(command["paths"]), "item") if command["paths"] else "everything"
        running.context.log(f"restoring {what} of {command['folder']} from snapshot {command['snapshot'][:8]}")
        running.session.send(item=running.claim.item.pk, **command)
        return None


def run_restore(claim: Claim) -> None:
    """Work on a restore."""
    restore = Restore.objects.select_related(
        "safety", "account__package", "account__server", "requested_by", "undo_of__package_was"
    ).get(job=claim.item.job)
    try:
        parts, repository = _of_now(restore.parts)
        plan = RestorePlan(restore, repository, parts)
    except (PanelError, LookupError) as error:
        item_finish(claim, _refused(error))
        return
    if my_turn(claim, f"restore:{restore.account_id}", "another restore into this account"):
        try:
            SessionRunner(claim, repository, _schedule(parts), plan, create=False).run()
        finally:
            home_unlock(restore.account)


class DownloadPlan:
    """Builds the archive where nobody else can touch it, and moves it among the downloads when it is whole."""

    def __init__(self, download: Download, parts: list[Part]) -> None:
        self._download = download
        self._parts = parts
        self._file = Path(settings.WORKSPACE_DIR) / f"{secrets.token_hex(16)}.{download.format}"

    def begin(self, running: Running) -> None:
        """Send the command."""
        os.close(os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        running.context.log(f"building {self._download.name}")
        running.session.send(
            do="archive",
            item=running.claim.item.pk,
            parts=archive_parts(self._parts),
            file=str(self._file),
            form=self._download.format,
            strip=home_path(self._download.account.home),
            keep_free=_KEEP_FREE,
            most=placing.MOST_ITEMS,
        )

    def ended(self, running: Running, status: int) -> Outcome:
        """Hand the archive out, or say why there is none."""
        done = running.last("archived")
        if done is None:
            return failure(running.error)
        moment, days = now(), number("download_days")
        try:
            hand_out(self._file, Path(settings.DOWNLOADS_DIR), running.context)
        except Stopped:
            return failure(CANCELED)
        except OSError as error:
            running.context.log(f"could not be moved among the downloads: {error.strerror}", level="error")
            text = f"The archive is built, and could not be moved among the downloads: {error.strerror}."
            return Outcome(State.FAILED, code=CODE, error=text, guidance=GUIDANCE)
        Download.objects.filter(pk=self._download.pk).update(
            file=self._file.name,
            size=done["size"],
            ready_at=moment,
            expires_at=moment + timedelta(days=days) if days else None,
        )
        gone = make_room(self._download.account_id, moment)
        if gone:
            running.context.log(f"{gone} older downloads of this account were removed")
        running.context.progress(Figures(done["data"], done["data"], done["items"]))
        result = {"files": done["items"], "size": done["size"], "seconds": done["seconds"]}
        if status != 0:
            some = f"{done['problems']:,} items are" if done["problems"] > 1 else "1 item is"
            text = f"{some} not in the archive."
            return Outcome(
                State.WARNING, result, "HF-TARGET", text, "The log names them and says why.", done["problems"]
            )
        return Outcome(State.SUCCESS, result)

    def clean(self) -> None:
        """Remove what was left of an archive that did not become whole."""
        self._file.unlink(missing_ok=True)


def run_download(claim: Claim) -> None:
    """Work on a download."""
    download = Download.objects.select_related("account__server").get(job=claim.item.job)
    try:
        parts, repository = _of_now(download.parts)
    except (PanelError, LookupError) as error:
        item_finish(claim, _refused(error))
        return
    places = {
        "downloads": settings.DOWNLOADS_DIR,
        "the workspace": settings.WORKSPACE_DIR,
        "the cache": settings.CACHE_DIR,
    }
    if full := first_problem(*(Room(name, Path(folder)) for name, folder in places.items())):
        item_finish(claim, Outcome(State.FAILED, code=CODE, error=full, guidance=GUIDANCE))
        return
    plan = DownloadPlan(download, parts)
    try:
        SessionRunner(claim, repository, _schedule(parts), plan, create=False).run()
    finally:
        plan.clean()


def _of_now(stored: list[dict[str, Any]]) -> tuple[list[Part], Repository]:
    """Return the parts as they are now.  PanelError, LookupError if a snapshot or its storage is gone."""
    parts = stored_parts(stored)
    repository = Repository.objects.select_related("destination").get(pk=parts[0].snapshot.repository_id)
    if not repository.destination.is_enabled:
        raise PanelError("The storage of this restore point is switched off.")
    return parts, repository


def _refused(error: Exception) -> Outcome:
    if isinstance(error, PanelError):
        return Outcome(State.FAILED, code=error.code, error=str(error), guidance=error.guidance)
    return Outcome(
        State.FAILED, code="HF-SNAPSHOT-GONE", error="The restore point was removed before its turn came.",
        guidance="Choose another one.",
    )  # fmt: skip


def _schedule(parts: list[Part]) -> Schedule | None:
    schedule: Schedule | None = parts[0].snapshot.schedule
    return schedule

"""What a worker does for a restore: a safety snapshot first, then the items go back."""

from __future__ import annotations

from typing import Any

from backups.models import Repository, Schedule, SnapshotKind
from backups.work import Running, SessionRunner, failure, send_backup, store_snapshot
from restores.models import Restore
from worker.claim import Claim
from worker.context import Figures
from worker.finish import Outcome
from worker.states import State


class RestorePlan:
    """Safety snapshot, if it is wanted, then the restore."""

    def __init__(self, restore: Restore, repository: Repository, schedule: Schedule | None) -> None:
        self._restore = restore
        self._repository = repository
        self._schedule = schedule

    def begin(self, running: Running) -> None:
        """Send the first of the two commands."""
        wanted = running.claim.item.job.spec.get("safety") and self._restore.safety_id is None
        if wanted and self._schedule is not None:
            running.step = "safety"
            running.context.log("taking a safety snapshot first")
            send_backup(running, self._schedule, self._repository, SnapshotKind.SAFETY)
        else:
            self._restore_now(running)

    def ended(self, running: Running, status: int) -> Outcome | None:
        """Go on with the restore after the safety snapshot, or say how it went."""
        if running.step == "safety":
            return self._after_safety(running)
        done = running.last("restored")
        if done is None:
            return failure(running.error)
        figures = {name: done[name] for name in ("files_restored", "files_unchanged", "files_skipped", "deleted")}
        result: dict[str, Any] = figures | {"size": done["size"], "seconds": done["seconds"]}
        running.context.progress(Figures(done["size"], done["size"], done["files_restored"]))
        if status != 0:
            text = f"{done['failed']} items could not be restored."
            return Outcome(
                State.WARNING, result, "HF-TARGET", text, "The log names them and says why.", warnings=done["failed"]
            )
        return Outcome(State.SUCCESS, result)

    def _after_safety(self, running: Running) -> Outcome | None:
        saved = running.last("saved")
        if saved is None or self._schedule is None or not saved["snapshot"]:
            outcome = failure(running.error)
            if outcome.state == State.ABORTED:
                return outcome
            return Outcome(
                State.FAILED,
                code="HF-SAFETY",
                error=f"Nothing was restored: the safety snapshot failed. {outcome.error}",
                guidance="Restore again with the safety snapshot switched off, if you can do without Undo.",
            )
        snapshot = store_snapshot(running, saved, self._schedule, self._repository, SnapshotKind.SAFETY)
        Restore.objects.filter(pk=self._restore.pk).update(safety=snapshot)
        running.context.log(f"safety snapshot {snapshot.short} is stored")
        self._restore_now(running)
        return None

    def _restore_now(self, running: Running) -> None:
        restore, account = self._restore, self._restore.account
        running.step = "restore"
        folder = f"web{account.home}"
        inside = [path.removeprefix(folder).strip("/") for path in restore.paths]
        by_admin = restore.requested_by is not None and restore.requested_by.is_admin
        as_user = account.system_uid is not None and account.system_uid != 0
        running.context.log(f"restoring {len(restore.paths)} items of snapshot {restore.snapshot.short}")
        running.session.send(
            do="restore",
            item=running.claim.item.pk,
            snapshot=restore.snapshot.snapshot_id,
            folder=folder,
            paths=[] if "" in inside else inside,
            target=account.home,
            below=restore.folder,
            overwrite=restore.overwrite,
            mirror=restore.mirror,
            user=account.system_uid if as_user and not by_admin else None,
            group=account.system_gid if as_user and not by_admin else None,
        )


def run_restore(claim: Claim) -> None:
    """Work on a restore."""
    restore = Restore.objects.select_related("snapshot__schedule", "account__package", "account__server").get(
        job=claim.item.job
    )
    repository = Repository.objects.select_related("destination").get(pk=restore.snapshot.repository_id)
    schedule = restore.snapshot.schedule
    SessionRunner(claim, repository, schedule, RestorePlan(restore, repository, schedule)).run()

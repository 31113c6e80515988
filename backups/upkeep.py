"""What a worker does for cleanups and integrity checks: one repository an item, alone in it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from backups.models import IntegrityCheck, Repository, Snapshot
from backups.records import snapshots_adopt
from backups.running import Running, SessionRunner, failure
from backups.services.upkeep import removable
from panel.core.text import count, size
from panel.options.selectors import number
from worker.claim import Claim
from worker.clock import now
from worker.context import Figures
from worker.finish import Outcome, item_finish
from worker.models import Event
from worker.states import State

_MOST_COPIED = 50 << 30
_MOST_KEPT = 200
"""Findings that are stored with a check; the log has their number."""


def run_cleanup(claim: Claim) -> None:
    """Remove what is to go from a repository, and free its space."""
    repository = _repository(claim)
    doomed = list(removable(repository).values_list("snapshot_id", flat=True))
    if not doomed and claim.item.job.trigger != "manual":
        item_finish(claim, Outcome(State.SKIPPED, error="Nothing is marked any more."))
        return
    SessionRunner(claim, repository, None, SweepPlan(repository, doomed), create=False).run()


def run_check(claim: Claim) -> None:
    """Check a repository, its data from where the last check stopped."""
    repository = _repository(claim)
    SessionRunner(claim, repository, None, InspectPlan(repository), create=False).run()


def _repository(claim: Claim) -> Repository:
    return Repository.objects.select_related("destination").get(pk=claim.item.spec["repository"])


class SweepPlan:
    """Removes snapshots, then the space they alone needed."""

    def __init__(self, repository: Repository, doomed: list[str]) -> None:
        self._repository = repository
        self._doomed = doomed

    def begin(self, running: Running) -> None:
        """Send the command."""
        running.context.log(f"{count(len(self._doomed), 'restore point')} to remove")
        running.session.send(
            do="sweep", item=running.claim.item.pk, snapshots=self._doomed, always=True, most=_MOST_COPIED
        )

    def ended(self, running: Running, status: int) -> Outcome:
        """Take the removed ones off the lists, and say what became free."""
        gone = [name for said in running.said if said["event"] == "forgotten" for name in said["snapshots"]]
        moment = now()
        for start in range(0, len(gone), 500):
            rows = Snapshot.objects.filter(repository=self._repository, snapshot_id__in=gone[start : start + 500])
            rows.update(removed_at=moment)
        swept = running.last("swept")
        if swept is None:
            return failure(running.error)
        Repository.objects.filter(pk=self._repository.pk).update(cleaned_at=moment, stored_bytes=swept["stored"])
        running.context.log(
            f"removed {count(swept['forgotten'], 'restore point')}, freed {size(swept['freed'])}, "
            f"{size(swept['unused'])} stay unused until more of their packs is"
        )
        running.context.progress(Figures(swept["freed"], swept["freed"]))
        result = {name: swept[name] for name in ("forgotten", "freed", "stored", "unused", "seconds")}
        if swept["left_behind"]:
            text = f"{swept['left_behind']} objects could not be removed from the storage."
            return Outcome(State.WARNING, result, "HF-LEFT-BEHIND", text, "The next cleanup tries again.")
        return Outcome(State.SUCCESS, result)


class InspectPlan:
    """Checks structure and data, and keeps the health of repository and snapshots in step."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        last_whole = repository.checks.exclude(finished_at=None).order_by("-pk").first()
        slices = repository.checks.filter(pk__gt=last_whole.pk if last_whole else 0).order_by("pk")
        self._slices: list[IntegrityCheck] = list(slices)
        self._position = self._slices[-1].position if self._slices else None

    def begin(self, running: Running) -> None:
        """Send the command."""
        if self._position:
            running.context.log("goes on where the last check stopped")
        running.session.send(
            do="inspect",
            item=running.claim.item.pk,
            seconds=number("integrity_minutes") * 60,
            position=self._position,
            known=self._ids(removed_at=None),
            removed=self._ids(removed_at__isnull=False),
        )

    def _ids(self, **which: Any) -> list[str]:
        return list(self._repository.snapshots.filter(**which).values_list("snapshot_id", flat=True))

    def ended(self, running: Running, status: int) -> Outcome:
        """Store what was found."""
        said = running.last("inspected")
        if said is None:
            return failure(running.error)
        findings = [each for each in running.said if each["event"] == "finding"]
        damaged = {name for each in findings if each["severity"] == "error" for name in each["snapshots"]}
        clean = said["errors"] == 0
        self._store(running, said, findings, clean=clean)
        self._mark(damaged)
        if said["position"] is None:
            self._clear(self._slices[0].started_at if self._slices else running.claim.attempt.started_at)
        for each in findings[:_MOST_KEPT]:
            level = "error" if each["severity"] == "error" else "info"
            running.context.log(f"{each['code']}: {each['message']}", level=level)
        read = f"{said['packs_read']} of {said['packs']} packs read ({size(said['bytes_read'])})"
        rest = "; the next check goes on from there" if said["position"] else ""
        running.context.log(f"{count(said['snapshots'], 'restore point')} checked, {read}{rest}")
        for row in snapshots_adopt(self._repository, [each for each in running.said if each["event"] == "unknown"]):
            running.context.log(f"restore point {row.short} of {row.account} was not on the lists; now it is")
        names = ("snapshots", "packs", "packs_read", "bytes_read", "errors", "hints", "missing", "seconds")
        return self._outcome({name: said[name] for name in names}, damaged)

    def _outcome(self, result: dict[str, Any], damaged: set[str]) -> Outcome:
        if not result["errors"]:
            return Outcome(State.SUCCESS, result)
        text = f"{count(result['errors'], 'error')} in the repository; {count(len(damaged), 'restore point')} damaged."
        return Outcome(
            State.FAILED,
            result,
            "HF-REPOSITORY-DAMAGED",
            text,
            "Nothing was deleted. The log names what is damaged; the next backup stores what is missing again.",
        )

    def _store(self, running: Running, said: dict[str, Any], findings: list[dict[str, Any]], *, clean: bool) -> None:
        moment = now()
        kept = [{name: each[name] for name in ("code", "kind", "object", "message")} for each in findings[:_MOST_KEPT]]
        started = running.claim.attempt.started_at
        IntegrityCheck.objects.create(
            repository=self._repository,
            job=running.claim.item.job,
            started_at=started,
            finished_at=None if said["position"] else moment,
            position=said["position"] or {},
            findings=kept,
            is_clean=clean,
        )
        rows = Repository.objects.filter(pk=self._repository.pk)
        damaged = not clean or any(each.is_clean is False for each in self._slices)
        changed = rows.exclude(is_damaged=damaged).update(is_damaged=damaged)
        rows.update(checked_at=moment)
        if changed:
            Event.objects.create(
                kind="repository.health_changed",
                at=moment,
                job=running.claim.item.job,
                subject=self._repository.lease,
                data={"damaged": damaged},
            )

    def _mark(self, damaged: set[str]) -> None:
        names = sorted(damaged)
        for start in range(0, len(names), 500):
            rows = Snapshot.objects.filter(repository=self._repository, snapshot_id__in=names[start : start + 500])
            rows.update(damaged_at=now())

    def _clear(self, since: datetime) -> None:
        """Take the flag from what a whole round, begun at ``since``, did not find damaged any more."""
        Snapshot.objects.filter(repository=self._repository, damaged_at__lt=since).update(damaged_at=None)

"""Running a session process for the items of a job at one repository, and keeping the rows in step with it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from backups.gateway import EngineSession, Use, master_key, secrets_of, session_spec
from backups.keys import repository_place, schedule_place
from backups.models import Repository, Schedule
from panel.options.selectors import number
from worker.claim import Claim, claim_next
from worker.context import Figures, ItemContext
from worker.finish import Outcome, item_finish, items_give_up
from worker.locks import dead_locks, forget_locks, note_lock
from worker.run import worker_name
from worker.states import Kind, State
from worker.turns import turn_over

_CANCEL_EVERY = 0.2
_STOP_WITHIN, _LINGER = 0.5, 5.0
"""Seconds after which an item that was told to stop counts as stopped, and then until what does not end is killed."""
CANCELED = {"code": "HF-CANCELED", "message": "Stopped on request."}
_FOR_ALL = frozenset(
    f"HF-STORE-{word}"
    for word in (
        "GONE", "UNREACHABLE", "HOST", "PORT", "TIMEOUT", "ADDRESS", "LOGIN", "KEY", "DENIED", "FOLDER", "READONLY",
        "FULL", "QUOTA", "DISKLIMIT", "FINGERPRINT", "FINGERPRINT-NEW", "CERT", "CERT-EXPIRED", "TLS", "BUCKET",
        "REGION", "CLOCK", "CONFIG",
    )
)  # fmt: skip
"""Errors that every other item at the same destination would meet too."""


class Plan(Protocol):
    """How the items of a kind of job are done in a session."""

    def begin(self, running: Running) -> None:
        """Send the first command."""

    def ended(self, running: Running, status: int) -> Outcome | None:
        """Take the end of a command; None after sending the next one."""


@dataclass(slots=True)
class Running:
    """An item in a session: its context, and what the engine said of it."""

    context: ItemContext
    session: EngineSession
    said: list[dict[str, Any]] = field(default_factory=list)
    problems: int = 0
    error: dict[str, Any] | None = None
    stopping: bool = False
    stop_by: float = 0.0
    began: float = field(default_factory=time.monotonic)
    step: str = ""

    @property
    def claim(self) -> Claim:
        """The claimed item."""
        return self.context.claim

    def last(self, event: str) -> dict[str, Any] | None:
        """Return the last event of a kind."""
        return next((said for said in reversed(self.said) if said["event"] == event), None)


class SessionRunner:
    """One session process and the items that go through it."""

    def __init__(
        self, first: Claim, repository: Repository, schedule: Schedule | None, plan: Plan, *, create: bool = True
    ) -> None:
        self._first = first
        self._repository = repository
        self._plan = plan
        self._dead = dead_locks(first.item.lease)
        if create and schedule is not None:
            note_key(repository, schedule)
        spec = session_spec(repository, schedule, create=create, exclusive=first.item.exclusive)
        spec |= {"stale_locks": self._dead}
        self._secrets = secrets_of(spec)
        self._key = spec["keys"][0] if spec["keys"] else ""
        self._session = EngineSession(spec, Use(repository.destination_id, first.item.job_id))
        self._running: dict[int, Running] = {}
        self._failure: dict[str, Any] | None = None
        self._checked = 0.0
        self._ready = False
        self._lock = ""
        self._attempts: list[int] = []
        self._left_alone: dict[int, Running] = {}

    def run(self) -> None:
        """Work until every item that was taken has its outcome."""
        self._add(self._first)
        try:
            while self._running:
                for event in self._session.events(0.2):
                    self._take(event)
                self._look_after()
                if self._session.ended:
                    self._all_failed()
            self._linger()
        finally:
            self._session.close()
            if self._session.unlocked:
                note_lock(self._attempts, "")

    def _linger(self) -> None:
        """Give stopped items whose end nobody waits for a moment to tidy up."""
        until = time.monotonic() + _LINGER
        while self._left_alone and not self._session.ended and time.monotonic() < until:
            for event in self._session.events(0.2):
                self._take(event)

    def _add(self, claim: Claim) -> None:
        running = Running(ItemContext(claim, self._secrets), self._session)
        self._running[claim.item.pk] = running
        running.context.log(f"started by worker {claim.attempt.worker}, try {claim.attempt.number}")
        self._attempts.append(claim.attempt.pk)
        if self._lock:
            note_lock([claim.attempt.pk], self._lock)
        self._plan.begin(running)

    def _take(self, event: dict[str, Any]) -> None:
        if event["item"] == 0:
            self._take_own(event)
            return
        running = self._running.get(event["item"]) or self._left_alone.get(event["item"])
        if running is None:
            return
        match event["event"]:
            case "ended" if self._left_alone.pop(event["item"], None):
                # What it stored in its last moment gets its row.
                self._plan.ended(running, event["status"])
            case "progress":
                running.context.progress(Figures(event["bytes"], event["total"], event["files"], event["current"]))
            case "problem":
                running.problems += 1
                running.context.log(f"left out: {event['path']}: {event['message']}", level="warning")
            case "error":
                running.error = event
                running.context.log(f"stopped: {event['message']} ({event['code']})", level="error")
            case "ended":
                outcome = self._plan.ended(running, event["status"])
                if outcome is not None:
                    self._finish(running, outcome)
            case _:
                running.said.append(event)

    def _take_own(self, event: dict[str, Any]) -> None:
        """Take what the session says of itself."""
        match event["event"]:
            case "ready":
                self._ready = True
                self._known(event["repository"])
            case "lock":
                self._lock = event["lock"]
                note_lock(self._attempts, self._lock)
                forget_locks(self._first.item.lease, self._dead)
            case "waiting":
                for running in self._running.values():
                    running.context.wait(event["message"])
            case "gone":
                since = datetime.fromtimestamp(event["since"], UTC)
                self._log_all(f"the server has not answered since {since:%Y-%m-%d %H:%M:%S} UTC; it is asked again")
            case "back":
                self._log_all("the server answers again")
            case "error":
                self._failure = event

    def _log_all(self, text: str) -> None:
        for running in self._running.values():
            running.context.log(text, level="warning")

    def _look_after(self) -> None:
        moment = time.monotonic()
        for running in list(self._running.values()):
            if not running.context.tick():
                self._session.send(do="cancel", item=running.claim.item.pk)
                del self._running[running.claim.item.pk]
        if moment - self._checked < _CANCEL_EVERY:
            return
        self._checked = moment
        hours = number("backup_hours")
        for running in self._running.values():
            too_long = hours and moment - running.began > hours * 3600 and running.claim.item.job.kind == Kind.BACKUP
            if not running.stopping and (too_long or running.context.canceled()):
                running.stopping, running.stop_by = True, moment + _STOP_WITHIN
                running.context.log("stopping: the time limit is reached" if too_long else "stopping on request")
                self._session.send(do="cancel", item=running.claim.item.pk)
        for running in list(self._running.values()):
            if running.stopping and (not self._ready or moment > running.stop_by):
                self._leave_alone(running)
        if self._first.item.lease and not any(running.stopping for running in self._running.values()):
            item = self._first.item
            claim = claim_next(worker_name(), item.server_id, session=(item.job_id, item.lease))
            if claim is not None:
                self._add(claim)

    def _leave_alone(self, running: Running) -> None:
        """End a stopped item that is slow to end: it waits for a server, a lock or a place, or tidies up."""
        if self._ready:
            self._left_alone[running.claim.item.pk] = running
        running.error = CANCELED
        self._finish(running, self._plan.ended(running, 1) or failure(CANCELED))

    def _finish(self, running: Running, outcome: Outcome) -> None:
        del self._running[running.claim.item.pk]
        running.context.save()
        level = "error" if outcome.state == State.FAILED else "info"
        running.context.log(f"finished: {outcome.state.label.lower()}", level=level)
        item_finish(running.claim, outcome)
        if outcome.code in _FOR_ALL:
            self._give_up(outcome)

    def _give_up(self, outcome: Outcome) -> None:
        """End the items that wait for the same repository: what stopped this one stops them too."""
        if self._first.item.lease:
            items_give_up(self._first.item.job_id, self._first.item.lease, outcome)

    def _all_failed(self) -> None:
        for running in list(self._running.values()):
            if running.error is None and self._failure is not None:
                running.context.log(f"stopped: {self._failure['message']} ({self._failure['code']})", level="error")
            running.error = running.error or self._failure
            outcome = self._plan.ended(running, self._status_of(running)) or failure(running.error)
            if outcome.code == "HF-ENGINE-DIED":
                running.context.log("the engine ended without a word", level="error")
            self._finish(running, outcome)
        if self._failure is not None and self._failure["code"] != "HF-CANCELED":
            self._give_up(failure(self._failure))

    @staticmethod
    def _status_of(running: Running) -> int:
        """Return how an item ended that said what it has done, and then its session died: that is not lost."""
        return int(bool(running.said and running.said[-1].get("problems")))

    def _known(self, repository_id: str) -> None:
        changed: dict[str, str] = {}
        if not self._repository.repository_id:
            changed["repository_id"] = repository_id
            if self._key:
                changed["sealed_key"] = master_key().seal(repository_place(self._repository.pk), self._key)
        if changed:
            Repository.objects.filter(pk=self._repository.pk).update(**changed)
            turn_over(self._first, self._repository.birth)


def note_key(repository: Repository, schedule: Schedule) -> None:
    """Store the key that a repository will have before it is made: a run that is stopped just then leaves one that
    other schedules can open."""
    if repository.sealed_key or not schedule.sealed_key:
        return
    key = master_key()
    sealed = key.seal(repository_place(repository.pk), key.open(schedule_place(schedule.pk), schedule.sealed_key))
    Repository.objects.filter(pk=repository.pk, sealed_key="").update(sealed_key=sealed)
    repository.refresh_from_db(fields=["sealed_key"])


def failure(error: dict[str, Any] | None) -> Outcome:
    """Return the outcome of an item that an error stopped."""
    if error is None:
        return Outcome(
            State.FAILED,
            code="HF-ENGINE-DIED",
            error="The engine ended without saying why.",
            guidance="Look for “out of memory” in the server's log, then run it again; what was stored is used.",
        )
    if error["code"] == "HF-CANCELED":
        return Outcome(State.ABORTED, code=error["code"], error="Stopped on request.")
    return Outcome(State.FAILED, code=error["code"], error=error["message"], guidance=error.get("guidance", ""))

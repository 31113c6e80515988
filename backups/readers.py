"""The readers: an always-warm pool that answers pages; each open repository is a process of its own."""

from __future__ import annotations

import json
import logging
import math
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from importlib import import_module
from typing import Any

import redis
from django.db import DatabaseError, close_old_connections

from backups.gateway import EngineSession, Use, session_spec, way_to
from backups.models import Repository, Snapshot
from backups.reveal import KEY_VERBS
from backups.versions import versions_of
from panel.accounts.models import User
from panel.core.errors import PanelError
from worker.asking import ANSWER, ANSWER_SECONDS, LARGEST_ANSWER, QUESTIONS, client

_log = logging.getLogger(__name__)
_OPEN_AT_MOST = 6
_SPARED_SECONDS = 2.0
"""Who was just given an open repository may not have asked it yet."""
_IDLE_SECONDS = 600
_ANSWER_SECONDS = 30.0
_MOST_WAITING = 3
"""Questions that wait for one repository, so that a silent storage does not keep all threads from the others."""
_AT_LEAST_SECONDS = 20.0
_BROKEN = ("HF-REPO-", "HF-STORE-")
_PLANNER = "restores.placing:plan_commands"
_OF_THE_STORE = frozenset(("traffic", "ready", "gone", "back", "error"))
_ANSWERS = frozenset(("listed", "data", "versions", "planned"))
_FIELDS: dict[str, tuple[str, ...]] = {
    "list": ("path", "start", "count", "sort", "down", "open_single"),
    "search": ("path", "text", "count"),
    "read": ("path", "limit"),
    "versions": ("path",),
    "plan": (),
}


class Warm:
    """A session that stays open for questions, asked by several threads at a time."""

    def __init__(self, repository: Repository) -> None:
        self._way, self._opened_at = way_to(repository), time.monotonic()
        self._broken = self._closing = False
        schedule = repository.snapshots.exclude(schedule=None).select_related("schedule").first()
        spec = session_spec(repository, schedule.schedule if schedule else None, lock=False)
        self._session = EngineSession(spec)
        self._lock = threading.Lock()
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._use = Use(repository.destination_id)
        self._told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._failure: dict[str, Any] | None = None
        self._number = 0
        self.used = time.monotonic()
        threading.Thread(target=self._pump, daemon=True).start()

    def ask(self, **command: Any) -> dict[str, Any]:
        """Return the answer to a command, its list under ``entries``.  PanelError."""
        inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with self._lock:
            if len(self._waiting) >= _MOST_WAITING:
                raise PanelError("This storage answers slowly, and others wait for it already. Try again in a moment.")
            self.used = time.monotonic()
            self._number += 1
            number = self._number
            self._waiting[number] = inbox
            self._session.send(item=number, **command)
        try:
            return self._answer(inbox, time.monotonic() + _ANSWER_SECONDS)
        except PanelError as error:
            self._broken = self._broken or error.code.startswith(_BROKEN)
            raise
        finally:
            self._waiting.pop(number, None)
            self._session.send(do="cancel", item=number)

    def _answer(self, inbox: queue.SimpleQueue[dict[str, Any]], until: float) -> dict[str, Any]:
        entries: list[Any] = []
        while (left := until - time.monotonic()) > 0 and not self.ended:
            try:
                event = inbox.get(timeout=min(left, 0.5))
            except queue.Empty:
                continue
            if event["event"] == "error":
                raise _error(event)
            if event["event"] == "more":
                entries += event["entries"]
            elif event["event"] in _ANSWERS:
                return {"entries": entries} | event
            elif event["event"] == "ended":
                raise PanelError("The engine ended without an answer.")
        if self._failure is not None:
            raise _error(self._failure)
        self._broken = True
        raise PanelError("The repository did not answer in time.")

    def fits(self, repository: Repository) -> bool:
        """Whether questions may go on to this process: it lives, and opened what the rows say today.

        One that met an error is opened anew, but not all the time: what failed may be what the storage holds.
        """
        if self.ended or self._way != way_to(repository):
            return False
        return not self._broken or time.monotonic() - self._opened_at < _AT_LEAST_SECONDS

    def _pump(self) -> None:
        """Give each event to who waits for it, until the process ends."""
        try:
            while not self._session.ended:
                for event in self._session.events(1.0):
                    if event["item"] == 0 and event["event"] == "error":
                        self._failure = event
                    if event["event"] in _OF_THE_STORE:
                        self._told.put(event)
                    inbox = self._waiting.get(event["item"])
                    if inbox is not None:
                        inbox.put(event)
        except (OSError, ValueError):
            if not self._closing:
                _log.exception("a session said what nobody understands")
        finally:
            self._session.ended = True

    def note(self) -> None:
        """Store what was said of the destination since the last time: its traffic, and whether it answers."""
        while not self._told.empty():
            self._use.note(self._told.get())

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._waiting)

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._session.ended

    def close(self) -> None:
        """End the process."""
        self._closing = True
        self._session.close()


class Readers:
    """Answers questions, keeping the repositories asked last open."""

    def __init__(self) -> None:
        self._warm: OrderedDict[int, Warm] = OrderedDict()
        self._ending: list[threading.Thread] = []
        self._lock = threading.Lock()

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer; the right to see is checked again here.  PanelError."""
        user = User.objects.filter(pk=question["user"], is_active=True).first()
        if user is None:
            raise PanelError("Nobody asked.")
        verb = question["verb"]
        if verb in KEY_VERBS:
            return KEY_VERBS[verb](user, question)
        if verb not in _FIELDS:
            raise PanelError("Nobody here answers that.")
        rows = Snapshot.objects.visible_to(user).present().select_related("repository__destination")
        snapshot = rows.filter(pk=question["snapshot"]).first()
        if snapshot is None:
            raise PanelError("This restore point does not exist any more.")
        if verb == "versions":
            return versions_of(self._opened, user, snapshot, question["path"])
        warm = self._opened(snapshot.repository)
        if verb == "plan":
            return {"parts": [warm.ask(**command) for command in _planner()(user, question)]}
        fields = {name: question[name] for name in _FIELDS[verb] if name in question}
        return warm.ask(do=verb, snapshot=snapshot.snapshot_id, **fields)

    def note(self) -> None:
        """Store the traffic that looking into snapshots made."""
        with self._lock:
            for warm in self._warm.values():
                warm.note()

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            for warm in self._warm.values():
                warm.close()
            self._warm.clear()
            for thread in self._ending:
                thread.join()

    def _opened(self, repository: Repository) -> Warm:
        with self._lock:
            warm = self._warm.pop(repository.pk, None)
            if warm is not None and not warm.fits(repository):
                self._end(warm)
                warm = None
            if warm is None:
                warm = Warm(repository)
            warm.used = time.monotonic()
            self._warm[repository.pk] = warm
            self._let_go()
            return warm

    def _let_go(self) -> None:
        for key, warm in list(self._warm.items())[:-1]:
            unused = time.monotonic() - warm.used
            spared = _SPARED_SECONDS if len(self._warm) > _OPEN_AT_MOST else _IDLE_SECONDS
            if unused > spared and not warm.busy:
                self._end(self._warm.pop(key))

    def _end(self, warm: Warm) -> None:
        """End a process without waiting: one that hangs takes its time, and nobody else may wait for that."""
        warm.note()
        thread = threading.Thread(target=warm.close, daemon=True)
        thread.start()
        self._ending = [other for other in self._ending if other.is_alive()] + [thread]


def _planner() -> Callable[[User, dict[str, Any]], list[dict[str, Any]]]:
    """Return what knows where things of a restore go; it lives above this app, so it is found by its name."""
    module, _, name = _PLANNER.partition(":")
    found: Callable[[User, dict[str, Any]], list[dict[str, Any]]] = getattr(import_module(module), name)
    return found


def serve(readers: Readers, stop: threading.Event) -> None:
    """Take questions until told to stop."""
    broker = client()
    while not stop.is_set():
        try:
            got: Any = broker.brpop([QUESTIONS], timeout=1)
        except redis.RedisError as error:
            _log.warning("the broker does not answer: %s", error)
            stop.wait(2)
            continue
        if got is not None:
            question = json.loads(got[1])
            close_old_connections()
            if question.get("until", math.inf) > time.time():
                _reply(broker, question, _answered(readers, question))
        _note(readers)
        close_old_connections()


def _note(readers: Readers) -> None:
    try:
        readers.note()
    except DatabaseError:
        _log.exception("the traffic of a reader was not counted")


def _answered(readers: Readers, question: dict[str, Any]) -> dict[str, Any]:
    try:
        return readers.answer(question)
    except PanelError as error:
        return {"error": str(error), "code": error.code, "guidance": error.guidance}
    except Exception:  # noqa: BLE001 - a reader answers every question, and goes on
        _log.exception("a question was not answered")
        return {"error": "The reader failed. The cause is in its log.", "code": "HF-READER"}


def _reply(broker: redis.Redis, question: dict[str, Any], answer: dict[str, Any]) -> None:
    text = json.dumps(answer | {"session": question["session"]})
    if len(text) > LARGEST_ANSWER:
        text = json.dumps({"error": "The answer is too large.", "session": question["session"]})
    key = ANSWER + question["id"]
    broker.lpush(key, text)
    broker.expire(key, ANSWER_SECONDS)


def _error(event: dict[str, Any]) -> PanelError:
    error = PanelError(event["message"])
    error.code, error.guidance = event["code"], event.get("guidance", "")
    return error

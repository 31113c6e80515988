"""The readers: an always-warm pool that answers pages; each open repository is a process of its own."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict
from typing import Any

import redis
from django.db import close_old_connections

from backups.gateway import EngineSession, session_spec
from backups.models import Repository, Snapshot
from backups.reveal import reveal_key
from destinations.probe import probe
from panel.accounts.models import User
from panel.core.errors import PanelError
from worker.asking import ANSWER, ANSWER_SECONDS, LARGEST_ANSWER, QUESTIONS, client

_log = logging.getLogger(__name__)
_OPEN_AT_MOST = 6
_IDLE_SECONDS = 600
_ANSWER_SECONDS = 30.0


class Warm:
    """A session that stays open for questions, used by one thread at a time."""

    def __init__(self, repository: Repository) -> None:
        schedule = repository.snapshots.exclude(schedule=None).select_related("schedule").first()
        spec = session_spec(repository, schedule.schedule if schedule else None, lock=False)
        self._session = EngineSession(spec)
        self.lock = threading.Lock()
        self.used = time.monotonic()
        self._number = 0

    def ask(self, **command: Any) -> dict[str, Any]:
        """Return the answer to a command.  PanelError."""
        with self.lock:
            self.used = time.monotonic()
            self._number += 1
            self._session.send(item=self._number, **command)
            while time.monotonic() - self.used < _ANSWER_SECONDS and not self._session.ended:
                for event in self._session.events(0.5):
                    if event["event"] == "error":
                        raise _error(event)
                    if event["item"] == self._number:
                        return event
        raise PanelError("The repository did not answer in time.")

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._session.ended

    def close(self) -> None:
        """End the process."""
        self._session.close()


class Readers:
    """Answers questions, keeping the repositories asked last open."""

    def __init__(self) -> None:
        self._warm: OrderedDict[int, Warm] = OrderedDict()
        self._lock = threading.Lock()

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer; the right to see is checked again here.  PanelError."""
        user = User.objects.filter(pk=question["user"], is_active=True).first()
        if user is None:
            raise PanelError("Nobody asked.")
        verb = question["verb"]
        if verb == "key":
            return reveal_key(user, question)
        if verb == "test":
            return probe(user, int(question["destination"]))
        snapshot = Snapshot.objects.visible_to(user).present().filter(pk=question["snapshot"]).first()
        if snapshot is None:
            raise PanelError("This restore point does not exist any more.")
        fields = {name: question[name] for name in ("path", "start", "count", "text", "limit") if name in question}
        return self._opened(snapshot.repository).ask(do=verb, snapshot=snapshot.snapshot_id, **fields)

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            for warm in self._warm.values():
                warm.close()
            self._warm.clear()

    def _opened(self, repository: Repository) -> Warm:
        with self._lock:
            warm = self._warm.pop(repository.pk, None)
            if warm is None or warm.ended:
                warm = Warm(repository)
            self._warm[repository.pk] = warm
            self._let_go()
            return warm

    def _let_go(self) -> None:
        for key, warm in list(self._warm.items())[:-1]:
            if len(self._warm) > _OPEN_AT_MOST or time.monotonic() - warm.used > _IDLE_SECONDS:
                if warm.lock.locked():
                    continue
                self._warm.pop(key).close()


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
        if got is None:
            continue
        question = json.loads(got[1])
        close_old_connections()
        _reply(broker, question, _answered(readers, question))
        close_old_connections()


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

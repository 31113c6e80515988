"""Questions of pages to the readers: what a snapshot holds, a key, a destination's test.

A question goes into a list of the broker; the answer comes back under the question's own name, lives for a minute, and
says whose session it is for.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from typing import Any

import redis
from django.conf import settings

from panel.core.errors import PanelError, Unavailable

QUESTIONS = "holdfast:questions"
ANSWER = "holdfast:answer:"
ANSWER_SECONDS = 60
LARGEST_ANSWER = 4 << 20


class Refused(PanelError):
    """A reader answered with an error."""

    code = "HF-READER"
    status = 409


def client() -> redis.Redis:
    """Return a connection to the broker."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=40)


def session_mark(session_key: str | None) -> str:
    """Return what ties an answer to a session without naming it."""
    return hashlib.sha256(f"holdfast {session_key}".encode()).hexdigest()[:32]


def ask(verb: str, *, user: Any, session_key: str | None, wait: int = 15, **fields: Any) -> dict[str, Any]:
    """Ask a reader and wait up to ``wait`` seconds.  Unavailable without an answer, Refused for an error."""
    name, mark = secrets.token_urlsafe(18), session_mark(session_key)
    question = {"id": name, "verb": verb, "user": user.pk, "session": mark, "until": time.time() + wait, **fields}
    try:
        broker = client()
        broker.lpush(QUESTIONS, json.dumps(question))
        got: Any = broker.blpop([ANSWER + name], timeout=wait)
    except redis.RedisError as error:
        raise Unavailable("The workers cannot be reached.") from error
    if got is None:
        raise Unavailable("The repository is being prepared; this takes longer the first time.")
    answer: dict[str, Any] = json.loads(got[1])
    if answer.get("session") != mark:
        raise Unavailable("The answer was for another session.")
    if "error" in answer:
        refused = Refused(answer["error"])
        refused.code = answer.get("code", Refused.code)
        refused.guidance = answer.get("guidance", "")
        raise refused
    return answer

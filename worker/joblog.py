"""The log of a run: kept for every job and item, whatever the result, with secrets removed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from worker.clock import now
from worker.models import Job, JobItem, JobLogLine

_MASK = "[removed]"
_LONGEST = 2000
_PATTERNS = (
    re.compile(r"(?i)\b(pass(?:word|wd)?|secret(?:_key)?|token|access_key|authorization)(\s*[=:]\s*)\S+"),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
)


def cleaned(text: str, secrets: Iterable[str] = ()) -> str:
    """Return ``text`` without the given secrets and without what looks like one."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, _MASK)
    text = _PATTERNS[0].sub(lambda match: f"{match[1]}{match[2]}{_MASK}", text)
    text = _PATTERNS[1].sub(_MASK, text)
    return text.replace("\0", "")[:_LONGEST]


def log_line(
    job: Job, item: JobItem | None, text: str, *, level: str = "info", secrets: Iterable[str] = ()
) -> JobLogLine:
    """Add a line to the log of a job, and of an item of it."""
    return JobLogLine.objects.create(job=job, item=item, at=now(), level=level, text=cleaned(text, secrets))

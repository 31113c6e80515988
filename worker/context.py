"""What the work on one item gets: a heartbeat, a progress that saves once a second, a log, and word of a cancel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db.models import Count, Q, Sum
from django.db.models.functions import Greatest

from worker.claim import Claim
from worker.clock import now
from worker.joblog import log_line
from worker.models import Attempt, Job, JobItem
from worker.reaper import HEARTBEAT_SECONDS
from worker.states import LIVE, State

_SAVE_EVERY = 1.0
_MEAN_SECONDS = 10.0


@dataclass(slots=True)
class Figures:
    """How far an item is."""

    bytes_done: int = 0
    bytes_total: int = 0
    files_done: int = 0
    current: str = ""


@dataclass(slots=True)
class ItemContext:
    """One claimed item while it is worked on."""

    claim: Claim
    secrets: Sequence[str] = ()
    figures: Figures = field(default_factory=Figures)
    _saved: float = 0.0
    _beaten: float = 0.0
    _history: list[tuple[float, int]] = field(default_factory=list)

    def log(self, text: str, *, level: str = "info") -> None:
        """Add a line to the item's log."""
        log_line(self.claim.item.job, self.claim.item, text, level=level, secrets=self.secrets)

    def progress(self, figures: Figures) -> None:
        """Take new figures; they reach the rows with the next :meth:`tick`."""
        self.figures = figures

    def wait(self, what: str) -> None:
        """Say what the item waits for; the log gets it once."""
        text = f"waits: {what}"
        if self.figures.current != text:
            self.figures.current = text
            self.log(text, level="warning")

    def tick(self) -> bool:
        """Save what is due.  False if the item is no longer ours: stop at once."""
        moment = time.monotonic()
        if moment - self._beaten >= HEARTBEAT_SECONDS:
            self._beaten = moment
            if not Attempt.objects.filter(pk=self.claim.attempt.pk, outcome=Attempt.Outcome.RUNNING).update(
                heartbeat_at=now()
            ):
                return False
        if moment - self._saved >= _SAVE_EVERY:
            self._saved = moment
            self.save()
        return True

    def save(self) -> None:
        """Write the figures to item and job."""
        figures = self.figures
        JobItem.objects.filter(pk=self.claim.item.pk, state=State.RUNNING).update(
            bytes_done=figures.bytes_done,
            bytes_total=figures.bytes_total,
            files_done=figures.files_done,
            speed=self._speed(),
            current=figures.current[:300],
        )
        job_progress(self.claim.item.job_id)

    def canceled(self) -> bool:
        """Whether somebody asked the job to stop."""
        return Job.objects.filter(pk=self.claim.item.job_id, cancel_at__isnull=False).exists()

    def _speed(self) -> int:
        moment = time.monotonic()
        self._history.append((moment, self.figures.bytes_done))
        while moment - self._history[0][0] > _MEAN_SECONDS:
            self._history.pop(0)
        span = moment - self._history[0][0]
        return int((self.figures.bytes_done - self._history[0][1]) / span) if span > 0 else 0


def job_progress(job_id: int) -> None:
    """Sum the figures of a job's items into its row; without a total as long as one of them does not know its own."""
    total = JobItem.objects.filter(job=job_id).aggregate(
        done=Sum("bytes_done"),
        total=Sum(Greatest("bytes_total", "bytes_done")),
        files=Sum("files_done"),
        speed=Sum("speed"),
        unknown=Count("pk", filter=Q(bytes_total=0, state__in=LIVE)),
    )
    Job.objects.filter(pk=job_id, state=State.RUNNING).update(
        bytes_done=total["done"] or 0,
        bytes_total=0 if total["unknown"] else total["total"] or 0,
        files_done=total["files"] or 0,
        speed=total["speed"] or 0,
    )

"""Working off what waits."""

from __future__ import annotations

import logging
import os

from django.conf import settings

from panel.accounts.models import Server
from panel.settings.logging import job_id
from worker.claim import Claim, claim_next
from worker.finish import Outcome, item_finish
from worker.joblog import log_line
from worker.kinds import runner_of, tidy
from worker.states import State

_log = logging.getLogger(__name__)


def worker_name() -> str:
    """Return the name of this process among workers: the worker's own name, and the process's number."""
    return f"{settings.WORKER_NAME}/{os.getpid()}"


def work(queue: str) -> int:
    """Claim items of the servers of ``queue`` until none is left that may start.  Returns how many were done."""
    done = 0
    _tidy(queue)
    for server in Server.objects.filter(queue=queue):
        while (claim := claim_next(worker_name(), server.pk)) is not None:
            work_on(claim)
            done += 1
    return done


def _tidy(queue: str) -> None:
    """Put right what killed work left; if that fails, the work goes on."""
    try:
        tidy(queue)
    except Exception:  # noqa: BLE001 - what is left is tried again, and must not keep others from their backups
        _log.exception("what killed work left was not put right")


def work_on(claim: Claim) -> None:
    """Do one item, whatever happens: it has an outcome afterwards."""
    job = claim.item.job
    token = job_id.set(str(job.pk))
    try:
        runner = runner_of(job.kind)
        if runner is None:
            raise LookupError(f"nothing here does {job.kind}")
        runner(claim)
    except Exception as error:  # noqa: BLE001 - the last line of defence: the row must say how it ended
        _log.exception("item %s of job %s failed", claim.item.pk, job.pk)
        log_line(job, claim.item, f"failed: {type(error).__name__}: {error}", level="error")
        item_finish(
            claim,
            Outcome(
                State.FAILED,
                code=getattr(error, "code", "HF-PANEL"),
                error="The panel itself failed while it did this. The cause is not known; the log has the details.",
                guidance=getattr(error, "guidance", "") or "Run it again; if it fails again, send the log to support.",
            ),
        )
    finally:
        job_id.reset(token)

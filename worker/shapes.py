"""How jobs look as JSON."""

from __future__ import annotations

from typing import Any

from panel.api.answers import moment
from worker.models import Job


def job_shape(job: Job) -> dict[str, Any]:
    """Return a job; sizes in bytes, times in UTC."""
    return {
        "id": job.pk,
        "kind": job.kind,
        "name": job.name,
        "scope": job.scope,
        "account": job.account.uid if job.account else None,
        "state": job.state,
        "created_at": moment(job.created_at),
        "started_at": moment(job.started_at),
        "finished_at": moment(job.finished_at),
        "stopping": job.cancel_at is not None,
        "items": {"done": job.items_done, "total": job.items_total},
        "bytes": {"done": job.bytes_done, "total": job.bytes_total},
        "error": {"code": job.error_code, "message": job.error, "guidance": job.guidance} if job.error else None,
    }

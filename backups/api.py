"""The API about schedules and snapshots."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from backups.models import Schedule, Snapshot
from backups.selectors import snapshots_visible
from backups.services.schedules import schedule_run
from panel.accounts.bearer import door, narrowed
from panel.accounts.services.tokens import Bearer
from panel.api import answers
from panel.core.errors import Invalid
from worker.models import Job
from worker.shapes import job_shape


def schedule_shape(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule; never its key."""
    return {
        "id": schedule.pk,
        "name": schedule.name,
        "mode": schedule.mode,
        "account": schedule.account.uid if schedule.account else None,
        "scope": schedule.scope,
        "frequency": schedule.frequency,
        "zone": schedule.zone,
        "retention": schedule.retention,
        "enabled": schedule.is_enabled,
        "next_run_at": answers.moment(schedule.next_run_at),
        "overdue_since": answers.moment(schedule.overdue_since),
    }


def snapshot_shape(snapshot: Snapshot) -> dict[str, Any]:
    """Return a restore point; sizes are of the source (what was added is for administrators)."""
    return {
        "id": snapshot.pk,
        "account": snapshot.account.uid if snapshot.account else None,
        "taken_at": answers.moment(snapshot.taken_at),
        "kind": snapshot.kind,
        "scope": snapshot.scope,
        "components": snapshot.components,
        "files": snapshot.files,
        "bytes": snapshot.size,
        "locked_until": answers.moment(snapshot.locked_until),
        "proven_at": answers.moment(snapshot.proven_at),
    }


def _schedules(request: HttpRequest, caller: Bearer) -> HttpResponse:
    """The schedules the caller sees."""
    return answers.page(request, _visible(caller), schedule_shape)


def _schedule(_request: HttpRequest, caller: Bearer, number: int) -> HttpResponse:
    """One schedule."""
    return answers.thing(schedule_shape(get_object_or_404(_visible(caller), pk=number)))


def _schedule_run(request: HttpRequest, caller: Bearer, number: int) -> HttpResponse:
    """Start a schedule now.  The same ``Idempotency-Key`` again returns the same job."""
    schedule = get_object_or_404(_visible(caller), pk=number)
    key = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > 80:
        raise Invalid("“Idempotency-Key” has at most 80 characters.")
    request_key = f"api:{caller.token.pk}:{key}" if key else None
    earlier = _earlier(request_key)
    if earlier is not None:
        return answers.thing(job_shape(earlier), 200)
    job = schedule_run(schedule, actor=caller.user, request_key=request_key)
    return answers.thing(job_shape(job), 202)


def _earlier(key: str | None) -> Any:
    return Job.objects.filter(request_key=key).first() if key else None


def _snapshots(request: HttpRequest, caller: Bearer) -> HttpResponse:
    """The restore points the caller sees; ``account`` (a uid) narrows the list."""
    rows = narrowed(caller, snapshots_visible(caller.user))
    uid = request.GET.get("account", "")
    return answers.page(request, rows.filter(account__uid=uid) if uid else rows, snapshot_shape)


def _snapshot(_request: HttpRequest, caller: Bearer, number: int) -> HttpResponse:
    """One restore point."""
    return answers.thing(snapshot_shape(get_object_or_404(narrowed(caller, snapshots_visible(caller.user)), pk=number)))


def _visible(caller: Bearer) -> Any:
    return narrowed(caller, Schedule.objects.visible_to(caller.user).present().select_related("account"))


schedules = door(get=("read", _schedules))
schedule = door(get=("read", _schedule))
run = door(post=("run", _schedule_run))
snapshots = door(get=("read", _snapshots))
snapshot = door(get=("read", _snapshot))

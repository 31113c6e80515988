"""The API about jobs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from panel.accounts.bearer import door, narrowed
from panel.accounts.services.tokens import Bearer
from panel.api import answers
from panel.core.errors import Conflict, Invalid
from worker.finish import job_cancel
from worker.models import Job
from worker.shapes import job_shape
from worker.states import Kind, State


def _jobs(request: HttpRequest, caller: Bearer) -> HttpResponse:
    """The jobs the caller sees; ``state`` and ``kind`` narrow the list."""
    rows = _visible(caller)
    for name, known in (("state", State.values), ("kind", Kind.values)):
        value = request.GET.get(name, "")
        if value and value not in known:
            raise Invalid(f"“{name}” is one of {', '.join(known)}.")
        if value:
            rows = rows.filter(**{name: value})
    return answers.page(request, rows, job_shape)


def _job(_request: HttpRequest, caller: Bearer, number: int) -> HttpResponse:
    """One job."""
    return answers.thing(job_shape(get_object_or_404(_visible(caller), pk=number)))


def _job_cancel(_request: HttpRequest, caller: Bearer, number: int) -> HttpResponse:
    """Ask a job to stop."""
    job = get_object_or_404(_visible(caller), pk=number)
    if not job_cancel(job, by=caller.user.username):
        raise Conflict("The job has ended, or stops already.")
    job.refresh_from_db()
    return answers.thing(job_shape(job), 202)


def _visible(caller: Bearer) -> Any:
    return narrowed(caller, Job.objects.visible_to(caller.user).select_related("account"))


jobs = door(get=("read", _jobs))
job = door(get=("read", _job))
cancel = door(post=("run", _job_cancel))

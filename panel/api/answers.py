"""JSON answers: one shape for things, one for lists, one for errors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpRequest, JsonResponse

from panel.core.errors import Invalid, PanelError

LARGEST_PAGE = 500
USUAL_PAGE = 100


def thing(data: dict[str, Any], status: int = 200) -> JsonResponse:
    """Answer with one thing, or with what was done."""
    return _json(data, status)


def page(request: HttpRequest, rows: Any, shape: Callable[[Any], dict[str, Any]]) -> JsonResponse:
    """Answer with a page of a list, newest first: ``limit`` rows older than ``before``, and where the next begins.

    A cursor by id stays true while rows are added, and costs the same on the first page and on the thousandth.
    """
    limit = whole_number(request, "limit", USUAL_PAGE, 1, LARGEST_PAGE)
    before = whole_number(request, "before", 0, 0, 2**62)
    if before:
        rows = rows.filter(pk__lt=before)
    found = list(rows.order_by("-pk")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return _json({"items": [shape(row) for row in found], "next_before": found[-1].pk if more else None}, 200)


def whole_number(request: HttpRequest, name: str, default: int, low: int, high: int) -> int:
    """Return a number of the query.  Invalid."""
    text = request.GET.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or len(text) > 19 or not low <= int(text) <= high:
        raise Invalid(f"“{name}” must be a whole number from {low} to {high}.")
    return int(text)


def refusal(error: PanelError) -> JsonResponse:
    """Answer with an error: stable code, sentence, next step."""
    body = {"error": {"code": error.code, "message": str(error), "guidance": error.guidance}}
    response = _json(body, error.status)
    if error.status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="holdfast"'
    return response


def moment(value: datetime | None) -> str | None:
    """Return a moment as RFC 3339 text in UTC."""
    return value.isoformat().replace("+00:00", "Z") if value else None


def _json(data: dict[str, Any], status: int) -> JsonResponse:
    response = JsonResponse(data, encoder=DjangoJSONEncoder, status=status, json_dumps_params={"ensure_ascii": False})
    response["Cache-Control"] = "no-store"
    return response

"""The audit log; administrators only."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from panel.audit.models import AuditEvent
from panel.audit.selectors import FILTERS, events
from panel.audit.services import first_break
from panel.audit.words import kinds, sentence


def event_list(request: HttpRequest) -> HttpResponse:
    """List the entries that fit the filters, newest first."""
    if not request.user.is_admin:
        raise Http404
    return _page(request, {})


@require_POST
def chain_check(request: HttpRequest) -> HttpResponse:
    """Look whether somebody changed the log after it was written."""
    if not request.user.is_admin:
        raise Http404
    return _page(request, {"checked": True, "broken": first_break(), "total": AuditEvent.objects.count()})


def _page(request: HttpRequest, more: dict[str, Any]) -> HttpResponse:
    chosen = {name: request.GET.get(name, "").strip()[:100] for name in FILTERS}
    page = Paginator(events(chosen), 50).get_page(request.GET.get("page"))
    for event in page:
        event.words = sentence(event)
        event.facts = [(key.replace("_", " "), _plain(value)) for key, value in event.detail.items()]
    kept = request.GET.copy()
    kept.pop("page", None)
    context = {
        "page": page, "chosen": chosen, "kinds": kinds(), "filtered": any(chosen.values()),
        "extra": f"&{kept.urlencode()}" if kept else "",
    }  # fmt: skip
    return render(request, "audit/event_list.html", context | more)


def _plain(value: Any) -> str:
    if isinstance(value, list) and len(value) == 2 and not any(isinstance(each, list | dict) for each in value):
        return f"{_plain(value[0]) or 'empty'} → {_plain(value[1]) or 'empty'}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)

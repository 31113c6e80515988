"""The audit log."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from panel.audit.models import AuditEvent


def event_list(request: HttpRequest) -> HttpResponse:
    """List the entries, newest first; administrators only."""
    if not request.user.is_admin:
        raise Http404
    page = Paginator(AuditEvent.objects.all(), 50).get_page(request.GET.get("page"))
    return render(request, "audit/event_list.html", {"page": page})

"""The settings pages."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from panel.options.registry import GROUPS
from panel.options.selectors import group as group_of
from panel.options.services import save_group


def home(request: HttpRequest) -> HttpResponse:
    """Go to the first page."""
    if not request.user.is_admin:
        raise Http404
    return redirect("options:settings", "general")


def page(request: HttpRequest, group: str) -> HttpResponse:
    """Show a group of settings, or save it."""
    if not request.user.is_admin or group not in GROUPS:
        raise Http404
    errors: dict[str, str] = {}
    if request.method == "POST":
        errors = save_group(group, request.POST.dict(), actor=request.user)
        if not errors:
            messages.success(request, "Saved. It applies to the next item that starts.")
            return redirect("options:settings", group)
    rows = [
        {
            "setting": setting,
            "value": request.POST.get(setting.key, "") if errors else value,
            "error": errors.get(setting.key),
        }
        for setting, value in group_of(group)
    ]
    context = {"rows": rows, "groups": GROUPS, "group": group, "title": GROUPS[group], "errors": errors}
    return render(request, "options/settings.html", context, status=422 if errors else 200)

"""The settings pages."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from panel.options.registry import GROUPS
from panel.options.selectors import group as group_of
from panel.options.services import save_group
from panel.options.setting import Setting, Value


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
            messages.success(request, "Saved. It applies from now on.")
            return redirect("options:settings", group)
    rows = [_row(setting, value, request.POST if errors else None, errors) for setting, value in group_of(group)]
    context = {"rows": rows, "groups": GROUPS, "group": group, "title": GROUPS[group], "errors": errors}
    return render(request, "options/settings.html", context, status=422 if errors else 200)


def _row(setting: Setting, value: Value, posted: Any, errors: dict[str, str]) -> dict[str, Any]:
    shown: Any = "" if setting.secret else value
    if posted is not None and not setting.secret:
        text = posted.get(setting.key, "")
        shown = text in ("on", "true", "1", "yes") if setting.widget == "switch" else text
    return {
        "setting": setting,
        "value": shown,
        "is_set": bool(setting.secret and value),
        "changed": not setting.secret and value != setting.default,
        "default": setting.words(setting.default),
        "error": errors.get(setting.key),
    }

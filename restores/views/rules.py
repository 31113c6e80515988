"""Settings → Restore: the conditions people accept, and what restored files become.  For administrators."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from panel.core.errors import PanelError
from restores.conditions import condition_delete, condition_save
from restores.models import FilePermissionRule, RestoreCondition, RuleCategory
from restores.permissions import rule_delete, rule_save

View = Callable[..., HttpResponse]
_FIELDS = ("pattern", "category", "owner", "group", "file_mode", "folder_mode")


def for_administrators(view: View) -> View:
    """Let nobody else know that a page exists."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **names: Any) -> HttpResponse:
        if not request.user.is_admin:
            raise Http404
        return view(request, *args, **names)

    return guarded


@for_administrators
def condition_list(request: HttpRequest) -> HttpResponse:
    """List the restore conditions."""
    return render(request, "restores/condition_list.html", {"rows": RestoreCondition.objects.all()})


@for_administrators
def condition_form(request: HttpRequest, number: int = 0) -> HttpResponse:
    """Make a condition, or change one."""
    condition = get_object_or_404(RestoreCondition, pk=number) if number else None
    text = request.POST.get("text", condition.text if condition else "")
    error: PanelError | None = None
    if request.method == "POST":
        try:
            condition_save(text, actor=request.user, condition=condition)
        except PanelError as problem:
            error = problem
        else:
            messages.success(request, "Saved. It is asked for from now on.")
            return redirect("restores:condition_list")
    context = {"condition": condition, "text": text, "error": error}
    return render(request, "restores/condition_form.html", context, status=error.status if error else 200)


@require_POST
@for_administrators
def condition_remove(request: HttpRequest, number: int) -> HttpResponse:
    """Remove a condition."""
    condition_delete(get_object_or_404(RestoreCondition, pk=number), actor=request.user)
    messages.success(request, "The condition is removed.")
    return redirect("restores:condition_list")


@for_administrators
def permission_list(request: HttpRequest) -> HttpResponse:
    """List the file permission rules, in the order they apply."""
    return render(request, "restores/permission_list.html", {"rows": FilePermissionRule.objects.all()})


@for_administrators
def permission_form(request: HttpRequest, number: int = 0) -> HttpResponse:
    """Make a rule, or change one."""
    rule = get_object_or_404(FilePermissionRule, pk=number) if number else None
    given = {name: str(getattr(rule, name, "")) for name in _FIELDS} | {"recursive": "on" if rule is None else ""}
    given |= {"recursive": "on"} if rule and rule.recursive else {}
    error: PanelError | None = None
    if request.method == "POST":
        given = {name: request.POST.get(name, "")[:500] for name in (*_FIELDS, "recursive")}
        try:
            rule_save(given, actor=request.user, rule=rule)
        except PanelError as problem:
            error = problem
        else:
            messages.success(request, "Saved. Restores from now on follow it.")
            return redirect("restores:permission_list")
    context = {"rule": rule, "given": given, "error": error, "categories": RuleCategory.choices}
    return render(request, "restores/permission_form.html", context, status=error.status if error else 200)


@require_POST
@for_administrators
def permission_remove(request: HttpRequest, number: int) -> HttpResponse:
    """Remove a rule."""
    rule_delete(get_object_or_404(FilePermissionRule, pk=number), actor=request.user)
    messages.success(request, "The rule is removed.")
    return redirect("restores:permission_list")

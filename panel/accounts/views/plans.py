"""Packages and priority groups; administrators only."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from panel.accounts.forms import PackageForm, PriorityForm
from panel.accounts.models import Package, PriorityGroup
from panel.accounts.services import plans
from panel.accounts.views.signing import need_admin
from panel.core.errors import PanelError


def package_list(request: HttpRequest) -> HttpResponse:
    """List the packages and what they allow."""
    need_admin(request)
    rows = list(Package.objects.annotate(used=Count("accounts")).order_by("name"))
    labels = [(name, Package._meta.get_field(name).verbose_name) for name in plans.PERMISSIONS]
    for row in rows:
        row.permissions = [(label, getattr(row, name)) for name, label in labels]  # type: ignore[attr-defined]
    return render(request, "accounts/package_list.html", {"rows": rows})


def package_create(request: HttpRequest) -> HttpResponse:
    """Make a package."""
    need_admin(request)
    return _edit(request, Package(), PackageForm, plans.package_save, "package")


def package_update(request: HttpRequest, number: int) -> HttpResponse:
    """Change a package; it holds for its accounts at once."""
    need_admin(request)
    return _edit(request, get_object_or_404(Package, pk=number), PackageForm, plans.package_save, "package")


@require_POST
def package_delete(request: HttpRequest, number: int) -> HttpResponse:
    """Remove a package that no account has."""
    need_admin(request)
    package = get_object_or_404(Package, pk=number)
    plans.package_delete(package, actor=request.user)
    messages.success(request, f"“{package.name}” is removed.")
    return redirect("accounts:package_list")


def priority_list(request: HttpRequest) -> HttpResponse:
    """List the priority groups, the first to be served first (QUE-01)."""
    need_admin(request)
    rows = PriorityGroup.objects.annotate(used=Count("accounts")).order_by("backup", "name")
    return render(request, "accounts/priority_list.html", {"rows": rows})


def priority_create(request: HttpRequest) -> HttpResponse:
    """Make a priority group (QUE-03 to QUE-05)."""
    need_admin(request)
    return _edit(request, PriorityGroup(), PriorityForm, plans.priority_save, "priority")


def priority_update(request: HttpRequest, number: int) -> HttpResponse:
    """Change a priority group (QUE-07); what waits already keeps its place."""
    need_admin(request)
    return _edit(request, get_object_or_404(PriorityGroup, pk=number), PriorityForm, plans.priority_save, "priority")


@require_POST
def priority_default(request: HttpRequest, number: int) -> HttpResponse:
    """Make a group the default (QUE-09)."""
    need_admin(request)
    group = get_object_or_404(PriorityGroup, pk=number)
    plans.priority_default(group, actor=request.user)
    messages.success(request, f"New accounts join “{group.name}”.")
    return redirect("accounts:priority_list")


@require_POST
def priority_delete(request: HttpRequest, number: int) -> HttpResponse:
    """Remove a group that is neither used nor the default (QUE-08)."""
    need_admin(request)
    group = get_object_or_404(PriorityGroup, pk=number)
    plans.priority_delete(group, actor=request.user)
    messages.success(request, f"“{group.name}” is removed.")
    return redirect("accounts:priority_list")


def _edit(request: HttpRequest, row: Any, form_class: Any, save: Any, word: str) -> HttpResponse:
    form = form_class(request.POST or None, instance=type(row).objects.get(pk=row.pk) if row.pk else None)
    if request.method == "POST" and form.is_valid():
        try:
            save(row, form.cleaned_data, actor=request.user)
        except PanelError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"“{row.name}” is saved.")
            return redirect(f"accounts:{word}_list")
    context = {"form": form, "row": row, "word": word}
    return render(request, "accounts/plan_form.html", context, status=422 if request.method == "POST" else 200)

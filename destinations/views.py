"""The destinations' pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from destinations.models import Destination
from destinations.services import local_destination_save
from panel.core.errors import PanelError
from worker.asking import ask


class LocalForm(forms.Form):
    """A folder of this server."""

    name = forms.CharField(max_length=40, help_text="Up to 40 characters, for you.")
    path = forms.CharField(
        max_length=400, label="Folder", help_text="On a disk that is not the one you back up, if you can."
    )
    is_enabled = forms.BooleanField(required=False, initial=True, label="Used by schedules")


def destination_list(request: HttpRequest) -> HttpResponse:
    """List the destinations; administrators only."""
    if not request.user.is_admin:
        raise Http404
    return render(request, "destinations/destination_list.html", {"destinations": Destination.objects.all()})


def destination_create(request: HttpRequest) -> HttpResponse:
    """Make a destination."""
    return _edit(request, None)


def destination_update(request: HttpRequest, number: int) -> HttpResponse:
    """Change a destination."""
    return _edit(request, get_object_or_404(Destination.objects.visible_to(request.user), pk=number))


@require_POST
def destination_test(request: HttpRequest, number: int) -> HttpResponse:
    """Test a destination step by step."""
    destination = get_object_or_404(Destination.objects.visible_to(request.user), pk=number)
    try:
        answer = ask("test", user=request.user, session_key=request.session.session_key, destination=destination.pk)
    except PanelError as error:
        messages.error(request, str(error))
    else:
        good = answer["ok"]
        (messages.success if good else messages.error)(
            request, "The test has passed." if good else "The test has failed."
        )
    return redirect("destinations:destination_update", destination.pk)


def _edit(request: HttpRequest, destination: Destination | None) -> HttpResponse:
    if not request.user.is_admin:
        raise Http404
    initial: dict[str, Any] = {}
    if destination is not None:
        initial = {
            "name": destination.name,
            "path": destination.config.get("path"),
            "is_enabled": destination.is_enabled,
        }
    form = LocalForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        taken = Destination.objects.filter(name=form.cleaned_data["name"]).exclude(
            pk=destination.pk if destination else None
        )
        if taken.exists():
            form.add_error("name", "Another destination has this name.")
        else:
            try:
                saved = local_destination_save(actor=request.user, destination=destination, **form.cleaned_data)
            except PanelError as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, "Saved. Test it now.")
                return redirect("destinations:destination_update", saved.pk)
    context = {"form": form, "destination": destination}
    return render(request, "destinations/destination_form.html", context, status=422 if form.errors else 200)

"""The destinations' pages."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from destinations import selectors, services
from destinations.forms import FORMS, DestinationForm, S3DefaultsForm, new_form
from destinations.models import Destination, DestinationKind
from panel.core.errors import PanelError
from worker.models import Job

_ICONS = {"local": "server", "s3": "cloud", "sftp": "lock", "ftp": "server-2"}


def destination_list(request: HttpRequest) -> HttpResponse:
    """List the destinations of a viewer."""
    _doors(request)
    rows = selectors.destinations_listed(request.user)
    return render(request, "destinations/destination_list.html", {"destinations": rows, "icons": _ICONS})


def destination_create(request: HttpRequest) -> HttpResponse:
    """Make a destination; the kind is a part of the address, and the form shows only what the kind has."""
    _doors(request)
    kinds = [kind for kind in FORMS if request.user.is_admin or kind != DestinationKind.LOCAL]
    kind = request.GET.get("kind", kinds[0])
    if kind not in kinds:
        raise Http404
    account = _account(request)
    form = new_form(kind, request.POST or None, customer=not request.user.is_admin)
    if request.method == "POST" and form.is_valid():
        saved = _saved(request, form, account, None)
        if saved is not None:
            return _after_save(request, saved)
    context = {
        "form": form,
        "kinds": [(kind, DestinationKind(kind).label, _ICONS[kind]) for kind in kinds],
        "kind": kind,
        "account": account,
        "accounts": [] if request.user.is_admin else selectors.custom_accounts(request.user),
        "defaults": selectors.s3_defaults(),
        "next": request.GET.get("next", ""),
    }
    return render(request, "destinations/destination_form.html", context, status=422 if form.errors else 200)


def destination_update(request: HttpRequest, number: int) -> HttpResponse:
    """Show a destination: its settings, its test, what went through."""
    destination = _destination(request, number)
    form = new_form(destination.kind, request.POST or None, destination=destination, customer=not request.user.is_admin)
    if request.method == "POST" and form.is_valid():
        saved = _saved(request, form, destination.account, destination)
        if saved is not None:
            return _after_save(request, saved)
    days = selectors.traffic_by_day(destination)
    context = {
        "form": form,
        "destination": destination,
        "kind": destination.kind,
        "test": selectors.test_shown(destination),
        "schedules": destination.schedules.filter(deleted_at=None),  # type: ignore[attr-defined]
        "repositories": destination.repositories.count(),  # type: ignore[attr-defined]
        "days": days,
        "peak": max(day["sent"] + day["received"] for day in days),
        "total": selectors.traffic_total(days),
        "defaults": selectors.s3_defaults(),
    }
    return render(request, "destinations/destination_form.html", context, status=422 if form.errors else 200)


def destination_test(request: HttpRequest, number: int) -> HttpResponse:
    """Start a test (POST), or show how far it is (GET)."""
    destination = _destination(request, number)
    if request.method == "POST":
        try:
            services.destination_test(
                destination, actor=request.user, install_key=bool(request.POST.get("install_key"))
            )
        except PanelError as error:
            messages.error(request, str(error))
        return _test_part(request, destination)
    return _test_part(request, destination)


@require_POST
def destination_trust(request: HttpRequest, number: int) -> HttpResponse:
    """Confirm the identity that the server has shown, and test again."""
    destination = _destination(request, number)
    try:
        services.destination_trust(destination, request.POST.get("fingerprint", ""), actor=request.user)
        services.destination_test(destination, actor=request.user)
    except PanelError as error:
        messages.error(request, str(error))
    response = redirect("destinations:destination_update", destination.pk)
    if request.headers.get("HX-Request"):
        # The whole page: its form shows what is pinned, and saving it must not take that away again.
        response = HttpResponse(status=204, headers={"HX-Redirect": response.url})
    return response


@require_POST
def destination_toggle(request: HttpRequest, number: int) -> HttpResponse:
    """Switch a destination on or off."""
    destination = _destination(request, number)
    enabled = services.destination_toggle(destination, actor=request.user)
    text = "is used again from the next run on" if enabled else "is off: runs leave it out and say so"
    messages.info(request, f"“{destination.name}” {text}.")
    return redirect("destinations:destination_update", destination.pk)


def destination_remove(request: HttpRequest, number: int) -> HttpResponse:
    """Ask for the name, then take a destination out of the panel."""
    destination = _destination(request, number)
    context: dict[str, Any] = {
        "destination": destination,
        "schedules": destination.schedules.filter(deleted_at=None),  # type: ignore[attr-defined]
        "repositories": destination.repositories.count(),  # type: ignore[attr-defined]
    }
    if request.method == "POST":
        try:
            if request.POST.get("name", "").strip() != destination.name:
                raise services.FieldInvalid("Type the destination's name as it is written above.", "name")
            if not request.user.check_password(request.POST.get("password", "")):
                raise services.FieldInvalid("The password is wrong.", "password")
            services.destination_remove(destination, actor=request.user)
        except PanelError as error:
            context["error"] = error
        else:
            messages.success(request, f"“{destination.name}” is removed from the panel. What it stores is untouched.")
            return redirect("destinations:destination_list")
    status = 422 if "error" in context else 200
    return render(request, "destinations/destination_remove.html", context, status=status)


def s3_defaults(request: HttpRequest) -> HttpResponse:
    """Show the global S3 settings, or change them."""
    if not request.user.is_admin:
        raise Http404
    row = selectors.s3_defaults()
    initial = {name: getattr(row, name) for name in ("endpoint", "region", "access_key")}
    form = S3DefaultsForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            services.s3_defaults_save(
                actor=request.user,
                **{name: data[name].strip() for name in ("endpoint", "region", "access_key")},
                secret_key=data["secret_key"] or ("" if request.POST.get("forget") else None),
            )
        except PanelError as error:
            form.add_error(_field(error, form), str(error))
        else:
            messages.success(request, "Saved. Destinations with empty S3 fields use it from the next run on.")
            return redirect("destinations:s3_defaults")
    context = {"form": form, "stored": bool(row.sealed)}
    return render(request, "destinations/s3_defaults.html", context, status=422 if form.errors else 200)


def job_destinations(request: HttpRequest, number: int) -> HttpResponse:
    """Show how each destination of a job did; administrators only."""
    if not request.user.is_admin:
        raise Http404
    job = get_object_or_404(Job.objects.visible_to(request.user), pk=number)
    context = {"job": job, "results": selectors.job_destinations(job)}
    part = "destinations/job_destinations.html"
    return render(request, f"{part}#results" if request.headers.get("HX-Request") else part, context)


def _doors(request: HttpRequest) -> None:
    if not selectors.may_see_destinations(request.user):
        raise Http404


def _destination(request: HttpRequest, number: int) -> Destination:
    _doors(request)
    rows = Destination.objects.visible_to(request.user).present().select_related("account__package", "test_job")
    destination = get_object_or_404(rows, pk=number)
    if not request.user.is_admin and not selectors.custom_accounts(request.user).filter(pk=destination.account_id):
        raise Http404
    return destination


def _account(request: HttpRequest) -> Any:
    """Return the account that new storage is for: None for an administrator's."""
    if request.user.is_admin:
        return None
    accounts = selectors.custom_accounts(request.user).select_related("package")
    wanted = request.POST.get("account") or request.GET.get("account") or ""
    return get_object_or_404(accounts, pk=int(wanted)) if wanted.isdecimal() else accounts.first()


def _saved(
    request: HttpRequest, form: DestinationForm, account: Any, destination: Destination | None
) -> Destination | None:
    try:
        return services.destination_save(form.data_for(account), actor=request.user, destination=destination)
    except PanelError as error:
        form.add_error(_field(error, form), str(error))
    return None


def _field(error: PanelError, form: Any) -> str | None:
    name = getattr(error, "field", None)
    return name if name in form.fields else None


def _after_save(request: HttpRequest, destination: Destination) -> HttpResponse:
    """Test what was saved, unless it was saved as not ready."""
    if request.POST.get("then") == "test":
        try:
            services.destination_test(destination, actor=request.user)
        except PanelError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, "Saved. The test runs now.")
    else:
        messages.success(request, "Saved.")
    return redirect("destinations:destination_update", destination.pk)


def _test_part(request: HttpRequest, destination: Destination) -> HttpResponse:
    if not request.headers.get("HX-Request"):
        return redirect("destinations:destination_update", destination.pk)
    destination.refresh_from_db()
    context = {"destination": destination, "test": selectors.test_shown(destination), "partial": True}
    return render(request, "destinations/test.html", context)

"""Hosting accounts: listed, added by hand, changed, suspended, ended; and the orphans they leave."""

from __future__ import annotations

import os
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Max, Min, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from panel.accounts.confirm import password_again
from panel.accounts.forms import AccountForm, ReassignForm
from panel.accounts.models import Account, AccountStatus, Package, PriorityGroup, Server
from panel.accounts.services import hosting
from panel.accounts.views.people import _extra, _need_manager
from panel.accounts.views.signing import need_admin
from panel.core.errors import Invalid, PanelError

_ORDERS = {"name": ["name"], "disk": ["-disk_bytes", "name"], "newest": ["-created_at", "-id"]}


def _as_admin(request: HttpRequest, number: int) -> None:
    need_admin(request)
    _account(request, number)


def account_list(request: HttpRequest) -> HttpResponse:
    """List the hosting accounts with search, state, package and order."""
    _need_manager(request)
    chosen = {name: request.GET.get(name, "").strip()[:100] for name in ("q", "status", "package", "order")}
    accounts: Any = Account.objects.visible_to(request.user).select_related("owner", "package", "priority")
    accounts = _filtered(accounts, chosen)
    whole = Q(snapshots__removed_at=None, snapshots__damaged_at=None, snapshots__is_hollow=False)
    newest = Max("snapshots__taken_at", filter=whole & ~Q(snapshots__kind="safety"))
    ordered = accounts.order_by(*_ORDERS.get(chosen["order"], ["name"]), "id")
    page = Paginator(ordered, 50).get_page(request.GET.get("page"))
    known = dict(
        Account.objects.filter(pk__in=[row.pk for row in page]).annotate(newest=newest).values_list("pk", "newest")
    )
    for account in page:
        account.last_good = known.get(account.pk)
    context = {
        "page": page, "chosen": chosen, "query": chosen["q"], "statuses": AccountStatus.choices,
        "packages": Package.objects.order_by("name"), "extra": _extra(request),
        "filtered": any(chosen[name] for name in ("q", "status", "package")), "from_system": os.geteuid() == 0,
    }  # fmt: skip
    return render(request, "accounts/account_list.html", context)


def _filtered(accounts: Any, chosen: dict[str, str]) -> Any:
    if chosen["q"]:
        text = chosen["q"]
        accounts = accounts.filter(
            Q(name__icontains=text) | Q(domain__icontains=text) | Q(uid__iexact=text) | Q(owner__username__iexact=text)
        )
    if chosen["status"] in AccountStatus.values:
        accounts = accounts.filter(status=chosen["status"])
    elif not chosen["q"]:
        accounts = accounts.exclude(status=AccountStatus.TERMINATED)
    if chosen["package"].isdecimal():
        accounts = accounts.filter(package=int(chosen["package"][:9]))
    return accounts


def account_create(request: HttpRequest) -> HttpResponse:
    """Add an account by hand; administrators only."""
    need_admin(request)
    group = PriorityGroup.objects.filter(is_default=True).first()
    initial = {"priority": group, "package": Package.objects.order_by("pk").first()}
    form = AccountForm(request.POST or None, viewer=request.user, initial=initial)  # type: ignore[arg-type]
    if request.method == "POST" and form.is_valid():
        values = dict(form.cleaned_data)
        server = Server.objects.order_by("pk")[0]
        try:
            values |= hosting.ids_of(values["system_user"])
            account = hosting.account_add(server, values.pop("name"), values.pop("home"), actor=request.user, **values)
        except PanelError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"“{account.name}” is added. Server-wide schedules take it along from now on.")
            return redirect("accounts:account_detail", account.pk)
    status = 422 if request.method == "POST" else 200
    return render(request, "accounts/account_form.html", {"form": form}, status=status)


def account_detail(request: HttpRequest, number: int) -> HttpResponse:
    """Show one account."""
    account = _account(request, number)
    snapshots = account.snapshots.filter(removed_at=None)
    shown = snapshots if request.user.is_admin else _visible_snapshots(account, snapshots)
    context = {
        "account": account, "snapshots": shown.select_related("repository")[:10],
        "count": shown.count(), "jobs": account.jobs.order_by("-id")[:6],
        "schedules": account.schedules.filter(deleted_at=None)[:10],
        "may_edit": account.status != AccountStatus.TERMINATED and (request.user.is_admin or request.user.is_reseller),
        "reassign": ReassignForm() if account.status == AccountStatus.TERMINATED and request.user.is_admin else None,
    }  # fmt: skip
    return render(request, "accounts/account_detail.html", context)


def account_update(request: HttpRequest, number: int) -> HttpResponse:
    """Change an account: an administrator everything, a reseller its owner."""
    _need_manager(request)
    account = _account(request, number)
    viewer: Any = request.user
    names = ("home", "system_user", "domain", "owner", "reseller", "package", "priority")
    initial = {name: getattr(account, name) for name in names} | {"domains": "\n".join(account.domains)}
    form = AccountForm(request.POST or None, viewer=viewer, account=account, initial=initial)
    if request.method == "POST" and form.is_valid():
        values = dict(form.cleaned_data)
        try:
            if "system_user" in values and values["system_user"] != account.system_user:
                values |= hosting.ids_of(values["system_user"])
            hosting.account_change(account, values, actor=viewer)
        except PanelError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Saved.")
            return redirect("accounts:account_detail", account.pk)
    status = 422 if request.method == "POST" else 200
    return render(request, "accounts/account_form.html", {"form": form, "account": account}, status=status)


@require_POST
def account_suspend(request: HttpRequest, number: int) -> HttpResponse:
    """Suspend an account; administrators only."""
    need_admin(request)
    account = _account(request, number)
    hosting.account_suspend(account, reason=request.POST.get("reason", ""), actor=request.user)
    messages.success(request, f"“{account.name}” is suspended: no schedule backs it up.")
    return redirect("accounts:account_detail", account.pk)


@require_POST
def account_resume(request: HttpRequest, number: int) -> HttpResponse:
    """End a suspension; administrators only."""
    need_admin(request)
    account = _account(request, number)
    hosting.account_resume(account, actor=request.user)
    messages.success(request, f"“{account.name}” is active again.")
    return redirect("accounts:account_detail", account.pk)


@require_POST
@password_again("end this account", first=_as_admin)
def account_terminate(request: HttpRequest, number: int) -> HttpResponse:
    """End an account after its name was typed; administrators only."""
    need_admin(request)
    account = _account(request, number)
    if request.POST.get("name", "").strip() != account.name:
        raise Invalid(f"Type the account's name, {account.name}, to end it.")
    hosting.account_terminate(account, actor=request.user)
    messages.success(request, f"“{account.name}” has ended. Its backups are orphans now and stay for the time being.")
    return redirect("accounts:account_detail", account.pk)


def orphan_list(request: HttpRequest) -> HttpResponse:
    """List terminated accounts and what their backups hold; administrators only."""
    need_admin(request)
    kept = Q(snapshots__removed_at=None, snapshots__isnull=False)
    rows = (
        Account.objects.filter(status=AccountStatus.TERMINATED)
        .annotate(
            points=Count("snapshots", filter=kept), bytes=Sum("snapshots__added", filter=kept),
            oldest=Min("snapshots__taken_at", filter=kept), newest=Max("snapshots__taken_at", filter=kept),
        )
        .order_by("-terminated_at", "-id")
    )  # fmt: skip
    page = Paginator(rows, 50).get_page(request.GET.get("page"))
    return render(request, "accounts/orphan_list.html", {"page": page})


@require_POST
@password_again("give these backups to another account", first=_as_admin)
def orphan_reassign(request: HttpRequest, number: int) -> HttpResponse:
    """Give the backups of a terminated account to a living one; administrators only."""
    need_admin(request)
    orphan = _account(request, number)
    form = ReassignForm(request.POST)
    if not form.is_valid():
        raise Invalid(" ".join(form.errors["target"]))
    target = form.cleaned_data["target"]
    moved = hosting.orphans_reassign(orphan, target, actor=request.user)
    messages.success(request, f"{moved} restore point{'' if moved == 1 else 's'} belong to “{target.name}” now.")
    return redirect("accounts:account_detail", target.pk)


@require_POST
def accounts_refresh(request: HttpRequest) -> HttpResponse:
    """Look for new accounts on this server; administrators only.  Nothing of theirs is read."""
    need_admin(request)
    new = hosting.accounts_from_system(Server.objects.order_by("pk")[0])
    messages.success(request, f"{new} new account{'' if new == 1 else 's'} found on this server.")
    return redirect("accounts:account_list")


def _account(request: HttpRequest, number: int) -> Account:
    accounts = Account.objects.visible_to(request.user).select_related(
        "owner", "reseller", "package", "priority", "server"
    )
    found: Account = get_object_or_404(accounts, pk=number)
    return found


def _visible_snapshots(account: Account, snapshots: Any) -> Any:
    whole = snapshots.filter(damaged_at=None)
    return whole if account.package.server_backups else whole.filter(repository__account__isnull=False)

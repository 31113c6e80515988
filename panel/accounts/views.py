"""Signing in and out, one's own settings, and hosting accounts."""

from __future__ import annotations

from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate, login, logout, update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from panel.accounts.forms import AccountForm, ProfileForm
from panel.accounts.models import Account
from panel.audit.services import record


def sign_in(request: HttpRequest) -> HttpResponse:
    """Show the form, or sign in."""
    target = request.POST.get("next") or request.GET.get("next") or "/"
    if not url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure()):
        target = "/"
    if request.method != "POST":
        return (
            redirect(target)
            if request.user.is_authenticated
            else render(request, "accounts/sign_in.html", {"next": target})
        )
    name = request.POST.get("username", "").strip()
    user = authenticate(request, username=name, password=request.POST.get("password", ""))
    if user is None:
        context = {"next": target, "username": name, "wrong": True, "left": _tries_left(request, name)}
        return render(request, "accounts/sign_in.html", context, status=422)
    login(request, user)
    request.session["address"] = request.META.get("REMOTE_ADDR")
    request.session["agent"] = request.headers.get("User-Agent", "")[:200]
    record("signed_in", actor=user, address=request.META.get("REMOTE_ADDR"))
    return redirect(target)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End this session."""
    record("signed_out", actor=request.user, address=request.META.get("REMOTE_ADDR"))
    logout(request)
    return redirect("accounts:sign_in")


def mine(request: HttpRequest) -> HttpResponse:
    """Show and change one's own settings; list sessions."""
    profile = ProfileForm(instance=request.user)
    password = PasswordChangeForm(request.user)
    status = 200
    if request.method == "POST" and request.POST.get("what") == "password":
        password = PasswordChangeForm(request.user, request.POST)
        if password.is_valid():
            password.save()
            update_session_auth_hash(request, request.user)
            request.user.sessions.exclude(pk=request.session.session_key).delete()
            record("password.changed", actor=request.user)
            messages.success(request, "Password changed. Other sessions were ended.")
            return redirect("accounts:mine")
        status = 422
    elif request.method == "POST":
        profile = ProfileForm(request.POST, instance=request.user)
        if profile.is_valid():
            profile.save()
            messages.success(request, "Saved.")
            return redirect("accounts:mine")
        status = 422
    sessions = request.user.sessions.order_by("-seen_at")
    context = {"profile": profile, "password": password, "sessions": sessions, "key": request.session.session_key}
    return render(request, "accounts/mine.html", context, status=status)


@require_POST
def session_end(request: HttpRequest) -> HttpResponse:
    """End all other sessions of the user."""
    request.user.sessions.exclude(pk=request.session.session_key).delete()
    record("sessions.ended", actor=request.user)
    messages.success(request, "Other sessions were ended.")
    return redirect("accounts:mine")


def account_list(request: HttpRequest) -> HttpResponse:
    """List the hosting accounts."""
    if request.user.is_admin is False and request.user.is_reseller is False:
        raise Http404
    accounts: Any = Account.objects.visible_to(request.user).select_related("owner", "package", "priority")
    query = request.GET.get("q", "").strip()
    if query:
        accounts = accounts.filter(name__icontains=query) | accounts.filter(domain__icontains=query)
    page = Paginator(accounts.order_by("name"), 50).get_page(request.GET.get("page"))
    return render(request, "accounts/account_list.html", {"page": page, "query": query})


def account_detail(request: HttpRequest, number: int) -> HttpResponse:
    """Show one account; administrators may change it."""
    account = get_object_or_404(Account.objects.visible_to(request.user), pk=number)
    form = AccountForm(request.POST or None, instance=account) if request.user.is_admin else None
    if request.method == "POST" and form is not None and form.is_valid():
        form.save()
        record("account.changed", actor=request.user, subject=f"account:{account.uid}")
        messages.success(request, "Saved.")
        return redirect("accounts:account_detail", account.pk)
    snapshots = account.snapshots.filter(removed_at=None)[:20]
    status = 422 if form is not None and form.errors else 200
    context = {"account": account, "form": form, "snapshots": snapshots}
    return render(request, "accounts/account_detail.html", context, status=status)


def _tries_left(request: HttpRequest, name: str) -> int:
    failures = AccessAttempt.objects.filter(username=name, ip_address=request.META.get("REMOTE_ADDR"))
    worst = max((attempt.failures_since_start for attempt in failures), default=1)
    return max(0, int(settings.AXES_FAILURE_LIMIT) - worst)

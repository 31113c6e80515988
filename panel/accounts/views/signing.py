"""Signing in and out, links that do it, and a forgotten password."""

from __future__ import annotations

import time
from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from django.contrib import messages
from django.contrib.auth import authenticate, login, logout
from django.contrib.auth.signals import user_login_failed
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST

from panel.accounts import confirm
from panel.accounts.lockout import refused, too_many, tries_left
from panel.accounts.models import SignInLink, User
from panel.accounts.services import links, twofactor, users
from panel.accounts.services.acting import acting_end
from panel.accounts.services.letters import mail_is_configured
from panel.audit.services import record
from panel.core.addresses import client_address
from panel.core.errors import Invalid
from panel.options.selectors import number, option

_BACKEND = "panel.accounts.backends.NameOrMailBackend"
_CODE_SECONDS = 300
_PASSWORD_LINKS = (SignInLink.Purpose.INVITATION, SignInLink.Purpose.RESET)


@sensitive_post_parameters("password")
def sign_in(request: HttpRequest) -> HttpResponse:
    """Show the form, or sign in."""
    target = safe_target(request, request.POST.get("next") or request.GET.get("next") or "/")
    if request.method != "POST":
        if request.user.is_authenticated:
            return redirect(target)
        return render(request, "accounts/sign_in.html", {"next": target, "can_forget": _can_forget()})
    if too_many(request):
        return refused(request)
    name = request.POST.get("username", "").strip()[:254]
    user = authenticate(request, username=name, password=request.POST.get("password", "")[:1000])
    if not isinstance(user, User):
        context = {"next": target, "username": name, "wrong": True, "left": tries_left(request, name)}
        return render(request, "accounts/sign_in.html", context | {"can_forget": _can_forget()}, status=422)
    if user.two_factor:
        request.session["second_step"] = [user.pk, time.time(), target]
        return redirect("accounts:sign_in_code")
    let_in(request, user, "signed_in")
    confirm.note(request)
    return redirect(target)


@sensitive_post_parameters("code")
def sign_in_code(request: HttpRequest) -> HttpResponse:
    """Ask for the code of the second step."""
    number_, since, target = request.session.get("second_step") or (0, 0.0, "/")
    user = User.objects.filter(pk=number_, is_active=True).first()
    if user is None or time.time() - since > _CODE_SECONDS:
        request.session.pop("second_step", None)
        return redirect("accounts:sign_in")
    if request.method != "POST":
        return render(request, "accounts/sign_in_code.html")
    who = {"username": user.username}
    if too_many(request) or not AxesProxyHandler.is_allowed(request, who):
        return refused(request)
    if not twofactor.passes(user, request.POST.get("code", "")[:40]):
        user_login_failed.send(sender=__name__, credentials=who, request=request)
        return render(request, "accounts/sign_in_code.html", {"wrong": True}, status=422)
    let_in(request, user, "signed_in", second_step=True)
    confirm.note(request)
    return redirect(safe_target(request, target))


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End this session, and with it acting as somebody."""
    person = request.behind or request.user  # type: ignore[attr-defined]
    record("signed_out", actor=person)
    logout(request)
    return redirect("accounts:sign_in")


@require_POST
def acting_stop(request: HttpRequest) -> HttpResponse:
    """Be oneself again."""
    behind = request.behind  # type: ignore[attr-defined]
    user = request.user
    if behind is None:
        return redirect("panel:overview")
    request.session.pop("acting_as", None)
    acting_end(behind, user)
    messages.success(request, f"You are yourself again, not {user.get_username()}.")
    return redirect("accounts:user_detail", user.pk)


def password_forgot(request: HttpRequest) -> HttpResponse:
    """Take the wish for a new password; the answer is the same whoever is meant."""
    if not _can_forget():
        return render(request, "accounts/password_forgot.html", {"off": True})
    if request.method != "POST":
        return render(request, "accounts/password_forgot.html")
    name = request.POST.get("username", "").strip()[:254]
    if not links.reset_order(name, address=client_address(request), base=request.build_absolute_uri("/")):
        return render(request, "accounts/password_forgot.html", {"locked": True}, status=429)
    return render(request, "accounts/password_forgot.html", {"done": True})


@sensitive_post_parameters("password", "again")
def welcome(request: HttpRequest, secret: str) -> HttpResponse:
    """Choose a password through an invitation or reset.  Looking does not use the link up; choosing does."""
    try:
        link = links.link_look(secret, *_PASSWORD_LINKS)
    except links.LinkUsed:
        return _ended(request)
    invited = link.purpose == SignInLink.Purpose.INVITATION
    context: dict[str, Any] = {"person": link.user, "invited": invited}
    if request.method == "POST":
        try:
            return _chosen(request, secret, link.user)
        except links.LinkUsed:
            return _ended(request)
        except Invalid as error:
            context["error"] = error
    response = render(request, "accounts/welcome.html", context, status=422 if "error" in context else 200)
    return _quiet(response)


def _chosen(request: HttpRequest, secret: str, user: User) -> HttpResponse:
    password = request.POST.get("password", "")
    if password != request.POST.get("again", ""):
        raise Invalid("The two passwords are not the same.")
    users.check_password_strength(password, user)
    user = links.link_use(secret, *_PASSWORD_LINKS)
    users.password_set(user, password, actor=user, action="password.chosen")
    if request.user.is_authenticated:
        logout(request)
    if user.two_factor:
        messages.success(request, "Your password is set. Sign in with it and with a code.")
        return redirect("accounts:sign_in")
    let_in(request, user, "signed_in", by="link")
    return redirect("panel:overview")


@require_GET
def sso(request: HttpRequest, secret: str) -> HttpResponse:
    """Sign in by a link that another panel asked for."""
    try:
        user = links.link_use(secret, SignInLink.Purpose.SSO)
    except links.LinkUsed:
        return _ended(request)
    if request.user.is_authenticated:
        logout(request)
    let_in(request, user, "signed_in", by="sso")
    return _quiet(redirect(safe_target(request, request.GET.get("next") or "/")))


def let_in(request: HttpRequest, user: User, action: str, **detail: Any) -> None:
    """Begin a session under a new key, with what its owner will see of it."""
    login(request, user, backend=_BACKEND)
    for leftover in ("second_step", "acting_as", "confirmed_at"):
        request.session.pop(leftover, None)
    request.session.set_expiry(number("session_days") * 86400)
    request.session["address"] = client_address(request)
    request.session["agent"] = request.headers.get("User-Agent", "")[:200]
    record(action, actor=user, address=client_address(request), **detail)


def safe_target(request: HttpRequest, target: str) -> str:
    """Return where to go next: an address of this panel, or its first page."""
    if target.startswith("/") and url_has_allowed_host_and_scheme(
        target, {request.get_host()}, require_https=request.is_secure()
    ):
        return target
    return "/"


def _can_forget() -> bool:
    return bool(option("forgot_password")) and mail_is_configured()


def _ended(request: HttpRequest) -> HttpResponse:
    return _quiet(render(request, "accounts/link_ended.html", status=410))


def _quiet(response: HttpResponse) -> HttpResponse:
    # Not "no-referrer": browsers then send "Origin: null" with the form, which the check of its mark refuses.
    response["Referrer-Policy"] = "strict-origin"
    response["Cache-Control"] = "no-store"
    return response


def need_admin(request: HttpRequest) -> None:
    """Http404 unless an administrator asks."""
    if not request.user.is_admin:
        raise Http404

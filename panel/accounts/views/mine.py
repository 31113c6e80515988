"""One's own settings: profile, password, sessions, the second step of signing in."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from panel.accounts.confirm import password_again
from panel.accounts.forms import OwnPasswordForm, ProfileForm
from panel.accounts.services import twofactor, users
from panel.audit.services import record
from panel.core.errors import Invalid


@sensitive_post_parameters("old_password", "new_password1", "new_password2")
def mine(request: HttpRequest) -> HttpResponse:
    """Show and change one's own settings; list sessions."""
    profile, password = ProfileForm(instance=request.user), OwnPasswordForm(request.user)
    if request.method == "POST" and request.POST.get("what") == "password":
        password = OwnPasswordForm(request.user, request.POST)
        if password.is_valid():
            return _password_changed(request, password.cleaned_data["new_password1"])
    elif request.method == "POST":
        profile = ProfileForm(request.POST, instance=request.user)
        if profile.is_valid():
            profile.save()
            record("profile.changed", actor=request.user, fields=profile.changed_data)
            messages.success(request, "Saved.")
            return redirect("accounts:mine")
    acting = request.behind is not None  # type: ignore[attr-defined]
    sessions = [] if acting else _sessions(request)
    context = {"profile": profile, "password": password, "sessions": sessions, "acting": acting}
    return render(request, "accounts/mine.html", context, status=422 if request.method == "POST" else 200)


def _password_changed(request: HttpRequest, password: str) -> HttpResponse:
    user: Any = request.user
    request.session.cycle_key()
    users.password_set(user, password, actor=user, keep=request.session.session_key or "")
    update_session_auth_hash(request, user)
    messages.success(request, "Password changed. Other sessions were ended.")
    return redirect("accounts:mine")


@require_POST
def session_end(request: HttpRequest) -> HttpResponse:
    """End all other sessions of the user."""
    ended = users.sessions_end(request.user, actor=request.user, keep=request.session.session_key or "")  # type: ignore[arg-type]
    messages.success(request, f"{ended} other session{'' if ended == 1 else 's'} ended.")
    return redirect("accounts:mine")


@require_POST
def session_end_one(request: HttpRequest, mark: str) -> HttpResponse:
    """End one session, named by a digest: its key would be as good as signing in."""
    user: Any = request.user
    for session in user.sessions.all():
        if mark_of(session.pk) == mark:
            session.delete()
            record("sessions.ended", actor=user, subject=f"user:{user.username}", count=1)
            messages.success(request, "The session is ended.")
            return redirect("accounts:mine")
    raise Http404


@sensitive_post_parameters("code", "confirm_password")
@password_again("set up two-factor sign-in")
def two_factor(request: HttpRequest) -> HttpResponse:
    """Set up the second step: a secret for the app, then the first code from it."""
    user: Any = request.user
    if user.two_factor:
        return render(request, "accounts/two_factor.html", {"left": len(user.recovery_codes)})
    if request.method != "POST":
        return render(request, "accounts/two_factor.html", {"begin": True})
    secret = request.session.get("new_totp") or twofactor.new_secret()
    request.session["new_totp"] = secret
    context: dict[str, Any] = {"secret": secret, "app": twofactor.app_address(secret, user)}
    if "code" not in request.POST:
        return _secretly(render(request, "accounts/two_factor.html", context))
    try:
        codes = twofactor.switch_on(user, secret, request.POST["code"].strip().replace(" ", ""), actor=user)
    except Invalid as error:
        return _secretly(render(request, "accounts/two_factor.html", context | {"error": error}, status=422))
    del request.session["new_totp"]
    users.sessions_end(user, actor=user, keep=request.session.session_key or "")
    return _secretly(render(request, "accounts/two_factor.html", {"codes": codes}))


@require_POST
@password_again("switch two-factor sign-in off")
def two_factor_off(request: HttpRequest) -> HttpResponse:
    """Ask for the password alone again."""
    twofactor.switch_off(request.user, actor=request.user)  # type: ignore[arg-type]
    messages.success(request, "Signing in asks for the password alone again.")
    return redirect("accounts:two_factor")


def mark_of(session_key: str) -> str:
    """Return what stands for a session on pages."""
    return hashlib.sha256(f"holdfast session {session_key}".encode()).hexdigest()[:20]


def _sessions(request: HttpRequest) -> list[dict[str, Any]]:
    user: Any = request.user
    rows = user.sessions.filter(expire_date__gt=timezone.now()).order_by("-seen_at")[:50]
    return [
        {
            "row": row,
            "mark": mark_of(row.pk),
            "here": row.pk == request.session.session_key,
            "browser": browser(row.agent),
        }
        for row in rows
    ]


def browser(agent: str) -> str:
    """Return the name of a browser and its system from what it says of itself."""
    kinds = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
    systems = (("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"),
               ("Mac OS", "macOS"), ("Linux", "Linux"))  # fmt: skip
    name = next((word for sign, word in kinds if sign in agent), "")
    system = next((word for sign, word in systems if sign in agent), "")
    return f"{name} on {system}" if name and system else name or agent[:60] or "Unknown browser"


def _secretly(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store"
    return response

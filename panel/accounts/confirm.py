"""The password again, before something that reveals or changes rights.  It holds for five minutes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme

_HOLDS_SECONDS = 300
_MARK = "confirmed_at"
View = Callable[..., HttpResponse]


def is_fresh(request: HttpRequest) -> bool:
    """Tell whether the password was given within the last five minutes."""
    return 0 <= time.time() - float(request.session.get(_MARK, 0)) < _HOLDS_SECONDS


def note(request: HttpRequest) -> None:
    """Note that the password was given just now."""
    request.session[_MARK] = time.time()


def password_again(what: str, *, first: Callable[..., object] | None = None) -> Callable[[View], View]:
    """Let a POST through only after the password; ``what`` completes "Enter your password to ...".

    ``first`` gets what the view gets and raises Http404 for a stranger, who must not learn that there is a form.

    The page in between carries the fields of the form, so that nothing is written twice by hand.
    """

    def around(view: View) -> View:
        @functools.wraps(view)
        def asked(request: HttpRequest, *args: Any, **named: Any) -> HttpResponse:
            if first is not None:
                first(request, *args, **named)
            if request.method != "POST" or is_fresh(request):
                return view(request, *args, **named)
            given = request.POST.get("confirm_password")
            if given is not None and _is_right(request, given):
                note(request)
                return view(request, *args, **named)
            return _ask(request, what, wrong=given is not None)

        return asked

    return around


def _is_right(request: HttpRequest, password: str) -> bool:
    user = authenticate(request, username=request.user.get_username(), password=password)
    return user is not None and user.pk == request.user.pk


def _ask(request: HttpRequest, what: str, *, wrong: bool) -> HttpResponse:
    hidden = [
        (name, value)
        for name, values in request.POST.lists()
        if name not in ("csrfmiddlewaretoken", "confirm_password")
        for value in values
    ]
    back = request.headers.get("Referer", "/")
    if not url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure()):
        back = "/"
    context = {"what": what, "hidden": hidden, "wrong": wrong, "back": back}
    return render(request, "accounts/confirm.html", context, status=422 if wrong else 200)

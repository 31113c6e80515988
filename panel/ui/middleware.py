"""A name for each request, and the rule that everything but a few doors needs a signed-in user."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from http import HTTPStatus

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from panel.core.errors import PanelError
from panel.settings.logging import request_id

OPEN = frozenset((
    "accounts:sign_in", "accounts:sign_in_code", "accounts:password_forgot", "accounts:welcome", "accounts:sso",
    "panel:health",
))  # fmt: skip
"""Pages for people who have not signed in.  The API asks for a token itself."""
Next = Callable[[HttpRequest], HttpResponse]


class RequestIdMiddleware:
    """Gives each request an id that is in its log lines and its answer."""

    def __init__(self, get_response: Next) -> None:
        self._next = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = request_id.set(secrets.token_hex(6))
        try:
            response = self._next(request)
            response["X-Request-Id"] = request_id.get()
            return response
        finally:
            request_id.reset(token)


class SignInRequiredMiddleware:
    """Sends strangers to the sign-in page, and turns the panel's errors into pages."""

    def __init__(self, get_response: Next) -> None:
        self._next = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._next(request)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED and not response.content:
            response = self._only_forms(request, response)
        if request.user.is_authenticated and "Cache-Control" not in response:
            response["Cache-Control"] = "private, no-store"
        return response

    def process_view(self, request: HttpRequest, *_: object) -> HttpResponse | None:
        """Let only signed-in users pass to what is not open."""
        match = request.resolver_match
        name = match.view_name if match is not None else ""
        if request.user.is_authenticated or name in OPEN or name.startswith("api:"):
            return None
        if request.headers.get("HX-Request"):
            return HttpResponse(status=401)
        return redirect_to_login(request.get_full_path())

    @staticmethod
    def _only_forms(request: HttpRequest, refused: HttpResponse) -> HttpResponse:
        """Say in words what an address that only takes forms answers to somebody who opens it."""
        context = {
            "title": "Nothing to see here",
            "text": "This address only takes what the panel's forms send. Nothing was changed.",
            "status": refused.status_code,
            "number": request_id.get(),
        }
        page = render(request, "errors/plain.html", context, status=refused.status_code)
        page["Allow"] = refused["Allow"]
        return page

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Show an error of the panel as a page that says what to do."""
        if not isinstance(error, PanelError):
            return None
        return render(request, "errors/panel.html", {"error": error}, status=error.status)

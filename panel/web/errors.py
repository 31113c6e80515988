"""Pages for what went wrong: what happened, what to do next, and the id under which the log has it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from panel.settings.logging import request_id


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Say that the form was too old."""
    return _page(
        request, 403, "This form is too old",
        "Nothing was changed. Your browser sent no valid mark of this panel with the form: it was open for long, you "
        "signed in again in between, or cookies are switched off.",
        "Go back, load the page again, and send the form once more.",
    )  # fmt: skip


def bad_request(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Say that the request was not understood, or that it was too large."""
    if isinstance(exception, RequestDataTooBig | TooManyFieldsSent | TooManyFilesSent):
        return _page(
            request, 413, "Too much at once",
            "Nothing was changed. The form holds more than the panel takes in one go.",
            "Choose fewer things, for example a folder instead of each of its files, and send it again.",
        )  # fmt: skip
    return _page(
        request, 400, "Not understood",
        "Nothing was changed. The request is not one that the panel's own pages send.",
        "Begin again from the overview.",
    )  # fmt: skip


def forbidden(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Say that this is not allowed."""
    return _page(
        request, 403, "Not allowed", "You may see this, but not do it. Nothing was changed.",
        "Ask the administrator of this server.",
    )  # fmt: skip


def not_found(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Say that there is nothing."""
    return _page(
        request, 404, "Not found", "There is nothing at this address, or it is not yours.",
        "It may have been removed. The menu leads to everything there is.",
    )  # fmt: skip


def server_error(request: HttpRequest) -> HttpResponse:
    """Say that the panel failed.  Asks nothing of the database, which may be what failed."""
    return _page(
        request, 500, "The panel failed", "This page could not be made. Backups that run are not touched by it.",
        "Load the page again. If it stays, give the administrator the number below: the log has the cause under it.",
        whole=False,
    )  # fmt: skip


def _page(request: HttpRequest, status: int, title: str, text: str, after: str, *, whole: bool = True) -> HttpResponse:
    """Answer with a page; signed-in people keep the menu.  What only asked for a part gets one line."""
    if request.headers.get("HX-Request"):
        return HttpResponse(f"{title}. {text}", status=status, content_type="text/plain; charset=utf-8")
    signed_in = whole and getattr(getattr(request, "user", None), "is_authenticated", False)
    theme = request.COOKIES.get("holdfast_theme", "")
    context = {"title": title, "text": text, "next": after, "status": status, "number": request_id.get()}
    if signed_in:
        return render(request, "errors/page.html", context, status=status)
    context["theme"] = theme if theme in ("light", "dark") else ""
    return HttpResponse(render_to_string("errors/plain.html", context), status=status)

"""Pages for what went wrong."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Say that the form was too old."""
    return render(
        request,
        "errors/plain.html",
        {"title": "This form is too old", "text": "Go back, load the page again, and send it once more."},
        status=403,
    )


def not_found(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Say that there is nothing."""
    return render(
        request,
        "errors/plain.html",
        {"title": "Not found", "text": "There is nothing at this address, or it is not yours."},
        status=404,
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """Say that the panel failed."""
    return render(
        request,
        "errors/plain.html",
        {"title": "The panel failed", "text": "The cause is in its log, under the id of this request."},
        status=500,
    )

"""What somebody sees who tried too many passwords."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def refused(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
    """Answer 429 with the sign-in page."""
    return render(request, "accounts/sign_in.html", {"locked": True}, status=429)

"""API tokens (TOK-01 to TOK-16)."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from panel.accounts.confirm import password_again
from panel.accounts.forms import TokenForm, days_left
from panel.accounts.models import ApiToken
from panel.accounts.services import tokens
from panel.core.errors import PanelError


def _token(request: HttpRequest, number: int) -> ApiToken:
    found: ApiToken = get_object_or_404(ApiToken.objects.visible_to(request.user), pk=number)
    return found


def token_list(request: HttpRequest) -> HttpResponse:
    """List the tokens a viewer may know: their own, or all for an administrator."""
    rows = ApiToken.objects.visible_to(request.user).select_related("user", "account", "created_by")[:500]
    context = {"rows": rows, "may": tokens.may_have_tokens(request.user), "scopes": tokens.SCOPES}
    return render(request, "accounts/token_list.html", context)


@password_again("make an API token")
def token_create(request: HttpRequest) -> HttpResponse:
    """Make a token; its text is shown on the answer and never again."""
    viewer: Any = request.user
    form = TokenForm(request.POST or None, viewer=viewer, initial={"user": viewer.pk})
    if request.method == "POST" and form.is_valid():
        try:
            token, text = tokens.token_create(form.data_of(), actor=viewer)
        except PanelError as error:
            form.add_error(None, str(error))
        else:
            response = render(request, "accounts/token_made.html", {"token": token, "text": text})
            response["Cache-Control"] = "no-store"
            return response
    return _page(request, form, None)


@password_again("change an API token", first=_token)
def token_update(request: HttpRequest, number: int) -> HttpResponse:
    """Change what a token may do; its text stays."""
    token = _token(request, number)
    viewer: Any = request.user
    initial = {
        "description": token.description, "user": token.user, "scopes": token.scopes, "account": token.account,
        "addresses": "\n".join(token.addresses), "days": days_left(token.expires_at),
    }  # fmt: skip
    form = TokenForm(request.POST or None, viewer=viewer, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            tokens.token_change(token, form.data_of(), actor=viewer)
        except PanelError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Saved.")
            return redirect("accounts:token_list")
    return _page(request, form, token)


@require_POST
def token_delete(request: HttpRequest, number: int) -> HttpResponse:
    """Remove a token."""
    token = _token(request, number)
    tokens.token_delete(token, actor=request.user)
    messages.success(request, f"“{token.description}” is removed; calls with it are refused from now on.")
    return redirect("accounts:token_list")


def _page(request: HttpRequest, form: TokenForm, token: ApiToken | None) -> HttpResponse:
    status = 422 if request.method == "POST" else 200
    return render(request, "accounts/token_form.html", {"form": form, "token": token}, status=status)

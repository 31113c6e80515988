"""The API about people and accounts."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from panel.accounts import requests
from panel.accounts.bearer import accounts_of, body_of, door
from panel.accounts.models import Account, AccountStatus
from panel.accounts.services import hosting
from panel.accounts.services.tokens import Bearer
from panel.accounts.shapes import account_shape, user_shape
from panel.api import answers
from panel.core.errors import Invalid

_JOINED = ("owner", "reseller", "package", "priority", "server")


def _me(_request: HttpRequest, caller: Bearer) -> HttpResponse:
    """Who the token acts as, and what it may do."""
    token = caller.token
    return answers.thing(
        {
            "user": user_shape(caller.user),
            "token": {
                "prefix": token.prefix,
                "description": token.description,
                "scopes": token.scopes,
                "account": token.account.uid if token.account else None,
                "expires_at": answers.moment(token.expires_at),
            },
        }
    )


def _accounts(request: HttpRequest, caller: Bearer) -> HttpResponse:
    """The accounts the caller sees; ``status`` and ``name`` narrow the list."""
    rows = accounts_of(caller).select_related(*_JOINED)
    status, name = request.GET.get("status", ""), request.GET.get("name", "")
    if status and status not in AccountStatus.values:
        raise Invalid(f"“status” is one of {', '.join(AccountStatus.values)}.")
    if status:
        rows = rows.filter(status=status)
    if name:
        rows = rows.filter(name=name)
    return answers.page(request, rows, account_shape)


def _account(_request: HttpRequest, caller: Bearer, uid: str) -> HttpResponse:
    """One account."""
    return answers.thing(account_shape(_found(caller, uid)))


def _account_add(request: HttpRequest, caller: Bearer) -> HttpResponse:
    """Add an account."""
    account = requests.account_add(body_of(request), actor=caller.user)
    return answers.thing(account_shape(account), 201)


def _account_change(request: HttpRequest, caller: Bearer, uid: str) -> HttpResponse:
    """Change an account."""
    account = _found(caller, uid)
    changed = requests.account_change(account, body_of(request), actor=caller.user)
    return answers.thing(account_shape(account) | {"changed": changed})


def _account_move(request: HttpRequest, caller: Bearer, uid: str, verb: str) -> HttpResponse:
    """Suspend, resume or end an account."""
    account = _found(caller, uid)
    if verb == "suspend":
        reason = str(body_of(request).get("reason", ""))
        hosting.account_suspend(account, reason=reason, actor=caller.user)
    elif verb == "resume":
        hosting.account_resume(account, actor=caller.user)
    else:
        hosting.account_terminate(account, actor=caller.user)
    return answers.thing(account_shape(account))


def _sso(request: HttpRequest, caller: Bearer) -> HttpResponse:
    """A link that signs a user in once: ``{"user": name, "seconds": 60}``."""
    words: dict[str, Any] = body_of(request)
    seconds = words.get("seconds", 60)
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise Invalid("“seconds” is a whole number.")
    user = requests.user_named(str(words.get("user", "")))
    base = request.build_absolute_uri("/")
    address = requests.sso_link(user, actor=caller.user, base=base, seconds=seconds)
    return answers.thing({"url": address, "seconds": seconds}, 201)


def _found(caller: Bearer, uid: str) -> Account:
    account: Account = get_object_or_404(accounts_of(caller).select_related(*_JOINED), uid=uid)
    return account


me = door(get=("read", _me))
accounts = door(get=("read", _accounts), post=("accounts:write", _account_add))
account = door(get=("read", _account), patch=("accounts:write", _account_change))
account_move = door(post=("accounts:write", _account_move))
sso = door(post=("sso", _sso))

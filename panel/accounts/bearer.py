"""The API's door: a token, its scope, the methods; errors as JSON.  A browser's session is no key here."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from panel.accounts.models import Account
from panel.accounts.services.tokens import Bearer, authenticate
from panel.api import answers
from panel.audit.origin import Origin, coming_from
from panel.core.addresses import client_address
from panel.core.errors import Invalid, NotAllowed, PanelError

Door = Callable[..., HttpResponse]
_LARGEST_BODY = 64 << 10


class NotFound(PanelError):
    """There is no such thing, or it is not the caller's."""

    code = "HF-NOT-FOUND"
    status = 404


class WrongMethod(PanelError):
    """This address does not take this method."""

    code = "HF-METHOD"
    status = 405


class OutOfScope(NotAllowed):
    """The token may not do this."""

    code = "HF-SCOPE"
    guidance = "Use a token with this scope; the page API tokens makes one."


def door(**doors: tuple[str, Door]) -> Door:
    """Return a view from ``method=(scope, function)``; each function gets the request, the caller and the path's parts.

    No cookie is looked at, so that no page of another site can use a browser's session here.
    """

    @csrf_exempt
    def view(request: HttpRequest, **parts: Any) -> HttpResponse:
        try:
            return _call(doors, request, parts)
        except PanelError as error:
            return answers.refusal(error)
        except Http404:
            return answers.refusal(NotFound("There is no such thing, or it is not yours."))

    return functools.update_wrapper(view, next(iter(doors.values()))[1], assigned=("__doc__", "__module__"), updated=())


def _call(doors: Mapping[str, tuple[str, Door]], request: HttpRequest, parts: dict[str, Any]) -> HttpResponse:
    caller = authenticate(request.headers.get("Authorization", ""), client_address(request))
    method = "get" if request.method == "HEAD" else (request.method or "").lower()
    if method not in doors:
        error = answers.refusal(WrongMethod(f"This address takes {', '.join(sorted(doors)).upper()}."))
        error["Allow"] = ", ".join(sorted(doors)).upper()
        return error
    scope, function = doors[method]
    if not caller.allows(scope):
        raise OutOfScope(f"This token does not have the scope “{scope}”.")
    with coming_from(Origin(client_address(request), token=caller.token.prefix)):
        return function(request, caller, **parts)


def body_of(request: HttpRequest) -> dict[str, Any]:
    """Return the JSON object of a request; an empty body is an empty object.  Invalid."""
    if len(request.body) > _LARGEST_BODY:
        raise Invalid("The body is too large.")
    try:
        found = json.loads(request.body or b"{}")
    except ValueError:
        raise Invalid("The body is not JSON.") from None
    if not isinstance(found, dict):
        raise Invalid("The body must be a JSON object.")
    return found


def accounts_of(caller: Bearer) -> Any:
    """Return the accounts a call may know: the user's, or the one its token is for."""
    accounts = Account.objects.visible_to(caller.user)
    return accounts.filter(pk=caller.token.account_id) if caller.token.account_id else accounts


def narrowed(caller: Bearer, rows: Any) -> Any:
    """Return the rows of the token's account, if it is for one; ``rows`` have an ``account``."""
    return rows.filter(account=caller.token.account_id) if caller.token.account_id else rows

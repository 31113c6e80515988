"""The basket's pages."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from backups.selectors import snapshots_visible
from panel.core.errors import Conflict, PanelError
from panel.core.text import count
from restores.basket import Basket, summary


def basket(request: HttpRequest) -> HttpResponse:
    """Show what is in the basket."""
    mine = Basket(request.session, request.user)
    items = mine.items()
    context = {"items": items, "basket": summary(items), "account": mine.account}
    return render(request, "restores/basket.html", context)


@require_POST
def basket_add(request: HttpRequest) -> HttpResponse:
    """Put the ticked items of a page in."""
    number = request.POST.get("snapshot", "")
    snapshot = get_object_or_404(snapshots_visible(request.user), pk=int(number) if number.isdecimal() else 0)
    mine = Basket(request.session, request.user)
    try:
        chosen = [_item(value) for value in request.POST.getlist("item")]
        new = mine.add(snapshot, chosen, replace=bool(request.POST.get("replace")))
    except Conflict as error:
        context = {"error": error, "snapshot": snapshot, "chosen": request.POST.getlist("item"), "back": _back(request)}
        return render(request, "restores/basket_other.html", context, status=409)
    except PanelError as error:
        messages.error(request, str(error))
        return redirect(_back(request))
    if chosen:
        messages.info(request, f"{count(new, 'item')} put into the basket.")
    else:
        messages.info(request, "Nothing was ticked.")
    return redirect(_back(request))


@require_POST
def basket_remove(request: HttpRequest) -> HttpResponse:
    """Take items out, or all of them."""
    mine = Basket(request.session, request.user)
    if request.POST.get("all"):
        mine.clear()
    else:
        mine.remove(request.POST.getlist("ref"))
    return redirect(_back(request) if request.POST.get("next") else "restores:basket")


def _item(value: str) -> tuple[str, str, int | None]:
    """Return path, kind and size of a box: ``dir//path`` or ``file/123/path``."""
    kind, _, rest = value.partition("/")
    size, _, path = rest.partition("/")
    return path, kind, int(size) if size.isdecimal() else None


def _back(request: HttpRequest) -> Any:
    given = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(given, allowed_hosts={request.get_host()})
    return given if safe and given.startswith("/") else "/restores/basket/"

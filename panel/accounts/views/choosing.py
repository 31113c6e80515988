"""What a search field offers while somebody types."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from panel.accounts.choosing import KINDS, offers


def offer_list(request: HttpRequest) -> HttpResponse:
    """List the rows of ``kind`` that fit the text of the field that ``of`` names, among what the viewer may know."""
    kind = request.GET.get("kind", "accounts")
    if kind not in KINDS:
        raise Http404
    name = request.GET.get("of", "q")[:60]
    found, more = offers(KINDS[kind], KINDS[kind].offered(request.user), request.GET.get(name, "")[:200])
    context = {"offers": found, "more": more, "of": name}
    return render(request, "components/search_offers.html", context)

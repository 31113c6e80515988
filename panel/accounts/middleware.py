"""Who is really there: acting as somebody else, the origin of changes, and what is shut meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.functional import SimpleLazyObject

from panel.accounts.models import User
from panel.accounts.services.acting import OWN_STORAGE, NotWhileActing, check_may_act, is_shut
from panel.audit.origin import Origin, coming_from
from panel.core.addresses import client_address
from panel.core.errors import PanelError
from panel.options.selectors import option

Next = Callable[[HttpRequest], HttpResponse]
ACTING = "acting_as"
_WITHOUT_CODE = frozenset(("accounts:two_factor", "accounts:sign_out", "panel:theme", "worker:active_tasks"))


class ActingMiddleware:
    """Puts the user somebody acts as in their place; ``request.behind`` is who is really there, or None.

    The right to act is looked at again on every request: who lost it, or whose user was locked out, is back at once.
    """

    def __init__(self, get_response: Next) -> None:
        self._next = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.behind = None  # type: ignore[attr-defined]
        if ACTING in request.session:
            self._act(request)
        behind = request.behind  # type: ignore[attr-defined]
        where = Origin(client_address(request), behind.username if behind else "", behind.pk if behind else None)
        with coming_from(where):
            return self._next(request)

    def process_view(self, request: HttpRequest, *_: object) -> HttpResponse | None:
        """Shut what is another person's alone, and ask administrators for a second factor if the settings do."""
        name = request.resolver_match.view_name if request.resolver_match else ""
        user, behind = request.user, request.behind  # type: ignore[attr-defined]
        if behind is not None and (is_shut(name, request.method or "") or request.POST.get(OWN_STORAGE)):
            error = NotWhileActing("This is not possible while you act as somebody else.")
            return render(request, "errors/panel.html", {"error": error}, status=error.status)
        lacks = behind is None and user.is_authenticated and user.is_admin and not user.two_factor
        if lacks and name not in _WITHOUT_CODE and option("admin_two_factor"):
            return redirect("accounts:two_factor")
        return None

    @staticmethod
    def _act(request: HttpRequest) -> None:
        real = request.user
        user = User.objects.filter(pk=request.session[ACTING]).first() if real.is_authenticated else None
        try:
            if user is not None:
                check_may_act(real, user)
        except PanelError:
            user = None
        if user is None:
            del request.session[ACTING]
            return
        request.behind = real._wrapped if isinstance(real, SimpleLazyObject) else real  # type: ignore[attr-defined]
        request.user = user  # type: ignore[assignment]

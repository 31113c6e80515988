"""Users: listed, made, changed, locked out, invited; and acting as one of them."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from panel.accounts.confirm import password_again
from panel.accounts.forms import UserForm
from panel.accounts.middleware import ACTING
from panel.accounts.models import Account, Role, Session, SignInLink, User
from panel.accounts.services import acting, links, twofactor, users
from panel.core.errors import PanelError


def _user(request: HttpRequest, number: int) -> User:
    found: User = get_object_or_404(User.objects.managed_by(request.user).select_related("reseller"), pk=number)
    return found


def user_list(request: HttpRequest) -> HttpResponse:
    """List the people a viewer knows, with search and role."""
    _need_manager(request)
    query, role = request.GET.get("q", "").strip()[:100], request.GET.get("role", "")
    people = User.objects.visible_to(request.user)
    if query:
        people = people.filter(Q(username__icontains=query) | Q(email__icontains=query))
    if role in Role.values:
        people = people.filter(role=role)
    # Counted for the fifty of the page; a join would count for everybody first.
    living = Account.objects.living().filter(owner=OuterRef("pk")).order_by().values("owner")
    seen = Session.objects.filter(user=OuterRef("pk")).order_by("-seen_at").values("seen_at")[:1]
    people = people.select_related("reseller").annotate(
        owned=Coalesce(Subquery(living.annotate(many=Count("pk")).values("many")), 0), seen=Subquery(seen)
    )
    page = Paginator(people.order_by("username"), 50).get_page(request.GET.get("page"))
    context = {"page": page, "query": query, "role": role, "roles": Role.choices, "extra": _extra(request)}
    return render(request, "accounts/user_list.html", context)


def user_create(request: HttpRequest) -> HttpResponse:
    """Make somebody and invite them."""
    _need_manager(request)
    viewer: Any = request.user
    form = UserForm(request.POST or None, viewer=viewer)
    if request.method == "POST" and form.is_valid():
        values = form.changes()
        try:
            user = users.user_create(values.pop("username"), actor=viewer, **values)
        except PanelError as error:
            form.add_error(None, str(error))
        else:
            return _invite(request, user, SignInLink.Purpose.INVITATION)
    status = 422 if request.method == "POST" else 200
    return render(request, "accounts/user_form.html", {"form": form}, status=status)


def user_detail(request: HttpRequest, number: int) -> HttpResponse:
    """Show somebody, and change them."""
    user = _user(request, number)
    viewer: Any = request.user
    initial = {"username": user.username, "email": user.email, "role": user.role, "reseller": user.reseller}
    form = UserForm(request.POST or None, viewer=viewer, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            users.user_change(user, form.changes(), actor=viewer)
        except PanelError as error:
            form.add_error(None, str(error))
            user.refresh_from_db()
        else:
            messages.success(request, "Saved.")
            return redirect("accounts:user_detail", user.pk)
    context = {
        "person": user, "form": form,
        "accounts": Account.objects.visible_to(viewer).filter(owner=user)[:50],
        "customers": User.objects.visible_to(viewer).filter(reseller=user).order_by("username")[:50],
        "sold": Account.objects.visible_to(viewer).filter(reseller=user)[:50],
        "letters": user.letters.all()[:5],
        "may_act": user.rank < viewer.rank and user.is_active,
    }  # fmt: skip
    return render(request, "accounts/user_detail.html", context, status=422 if request.method == "POST" else 200)


@require_POST
def user_disable(request: HttpRequest, number: int) -> HttpResponse:
    """Lock somebody out."""
    user = _user(request, number)
    users.user_disable(user, actor=request.user)
    messages.success(request, f"{user} is locked out. Sessions and links ended, tokens do not work.")
    return redirect("accounts:user_detail", user.pk)


@require_POST
def user_enable(request: HttpRequest, number: int) -> HttpResponse:
    """Let somebody in again."""
    user = _user(request, number)
    users.user_enable(user, actor=request.user)
    messages.success(request, f"{user} may sign in again.")
    return redirect("accounts:user_detail", user.pk)


@require_POST
@password_again("make a link that signs this person in", first=_user)
def user_link(request: HttpRequest, number: int) -> HttpResponse:
    """Send somebody an invitation or a reset, or show its link to pass on."""
    user = _user(request, number)
    invited = request.POST.get("purpose") == "invitation"
    return _invite(request, user, SignInLink.Purpose.INVITATION if invited else SignInLink.Purpose.RESET)


@require_POST
def user_sessions_end(request: HttpRequest, number: int) -> HttpResponse:
    """End all sessions of somebody."""
    user = _user(request, number)
    ended = users.sessions_end(user, actor=request.user)
    messages.success(request, f"{ended} session{'' if ended == 1 else 's'} of {user} ended.")
    return redirect("accounts:user_detail", user.pk)


@require_POST
@password_again("switch off this person's second step", first=_user)
def user_two_factor_off(request: HttpRequest, number: int) -> HttpResponse:
    """Switch somebody's second step off: the telephone is lost."""
    user = _user(request, number)
    twofactor.switch_off(user, actor=request.user)
    messages.success(request, f"{user} signs in with the password alone.")
    return redirect("accounts:user_detail", user.pk)


@require_POST
@password_again("see the panel as this person does; it is noted in the audit log", first=_user)
def user_act(request: HttpRequest, number: int) -> HttpResponse:
    """See the panel as somebody does."""
    user = _user(request, number)
    acting.acting_begin(request.user, user, behind=request.behind)  # type: ignore[attr-defined]
    request.session[ACTING] = user.pk
    return redirect("panel:overview")


def _invite(request: HttpRequest, user: User, purpose: str) -> HttpResponse:
    address = links.link_send(user, purpose, actor=request.user, base=request.build_absolute_uri("/"))
    if not address:
        messages.success(request, f"A mail with the link is on its way to {user.email}.")
        return redirect("accounts:user_detail", user.pk)
    life = "7 days" if purpose == SignInLink.Purpose.INVITATION else "1 hour"
    context = {"person": user, "address": address, "life": life, "purpose": purpose}
    response = render(request, "accounts/link_made.html", context)
    response["Cache-Control"] = "no-store"
    return response


def _need_manager(request: HttpRequest) -> None:
    if not (request.user.is_admin or request.user.is_reseller):
        raise Http404


def _extra(request: HttpRequest) -> str:
    kept = request.GET.copy()
    kept.pop("page", None)
    return f"&{kept.urlencode()}" if kept else ""

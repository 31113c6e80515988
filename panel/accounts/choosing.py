"""Choosing one of thousands: a field in which a person types, and the server offers what fits.

What is sent is what can be read in the field, so it works without scripts too: a user's name, an account's name or id,
or both as ``name (id)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from panel.accounts.models import Account, Role, User

MOST_IN_A_LIST = 50
"""More than that are searched for, not listed."""
OFFERED = 12
_LONGEST = 200
_WITH_ID = re.compile(r"\(([a-z0-9-]+)\)\s*$").search


@dataclass(frozen=True, slots=True)
class Offer:
    """What is offered for a row: the text that chooses it, its title, and a word more to tell it from others."""

    text: str
    title: str
    more: str


@dataclass(frozen=True, slots=True)
class Kind:
    """How rows of a kind are found and named.  ``offered`` is what a viewer may choose when a form says no more."""

    one: str
    offered: Callable[[Any], QuerySet[Any]]
    offer: Callable[[Any], Offer]
    holds: Callable[[str], Q]
    begins: Callable[[str], Q]
    exact: Callable[[str], list[Q]]
    order: str


def _account_exact(text: str) -> list[Q]:
    with_id = _WITH_ID(text)
    return [Q(uid=with_id[1])] if with_id else [Q(uid=text), Q(name__iexact=text)]


def _user_offer(user: User) -> Offer:
    return Offer(user.username, user.username, user.email)


def _people(viewer: Any) -> QuerySet[User]:
    return User.objects.visible_to(viewer).filter(is_active=True)


_PERSON: dict[str, Any] = {
    "offer": _user_offer,
    "holds": lambda text: Q(username__icontains=text) | Q(email__icontains=text),
    "begins": lambda text: Q(username__istartswith=text),
    "exact": lambda text: [Q(username__iexact=text)],
    "order": "username",
}
KINDS = {
    "accounts": Kind(
        one="account",
        offered=lambda viewer: Account.objects.visible_to(viewer).living(),
        offer=lambda row: Offer(f"{row.name} ({row.uid})", row.name, " · ".join(filter(None, (row.domain, row.uid)))),
        holds=lambda text: Q(name__icontains=text) | Q(domain__icontains=text) | Q(uid__istartswith=text),
        begins=lambda text: Q(name__istartswith=text),
        exact=_account_exact,
        order="name",
    ),
    "users": Kind(one="user", offered=_people, **_PERSON),
    "resellers": Kind(one="reseller", offered=lambda viewer: _people(viewer).filter(role=Role.RESELLER), **_PERSON),
}


def offers(kind: Kind, rows: QuerySet[Any], text: str) -> tuple[list[Offer], bool]:
    """Return some of the rows that a text fits, those first that begin with it, and whether there are more."""
    text = text.strip()[:_LONGEST]
    with_id = _WITH_ID(text)
    if with_id:
        rows = rows.filter(kind.exact(text)[0])
    elif text:
        first = Case(When(kind.begins(text), then=Value(0)), default=Value(1), output_field=IntegerField())
        rows = rows.filter(kind.holds(text)).annotate(first=first).order_by("first", kind.order, "pk")
    found = list(rows[: OFFERED + 1] if text else rows.order_by(kind.order, "pk")[: OFFERED + 1])
    return [kind.offer(row) for row in found[:OFFERED]], len(found) > OFFERED


class SearchInput(forms.TextInput):
    """A text field with a list under it; what is offered comes from the server while one types."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        """Return the field, the button-less list, and where its offers come from."""
        context = self.get_context(name, value, attrs)
        context["source"] = f"{reverse('accounts:offers')}?kind={self.kind}&of={name}"
        return render_to_string("components/search_choice.html", context)


class SearchField(forms.ModelChoiceField):
    """One of many rows, given by what can be read in the field.  ``queryset`` is what may be chosen."""

    widget = SearchInput

    def __init__(self, queryset: QuerySet[Any], *, kind: str, **options: Any) -> None:
        self.kind = KINDS[kind]
        super().__init__(queryset, widget=SearchInput(kind), **options)

    def prepare_value(self, value: Any) -> str:
        """Return the text of a row, of the row of a number or id, or the text itself."""
        row = value
        if isinstance(value, int):
            row = self.queryset.filter(pk=value).first()
        elif isinstance(value, str) and value:
            found = [self.queryset.filter(wish)[:2] for wish in self.kind.exact(value)]
            row = next((rows[0] for rows in found if len(rows) == 1), value)
        return self.kind.offer(row).text if isinstance(row, self.queryset.model) else str(row or "")

    def to_python(self, value: Any) -> Any:
        """Return the row that a text means.  ValidationError, with what may have been meant."""
        text = str(value or "").strip()[:_LONGEST]
        if not text:
            return None
        for wish in self.kind.exact(text):
            found = list(self.queryset.filter(wish)[: OFFERED + 1])
            if len(found) == 1:
                return found[0]
            if found:
                raise forms.ValidationError(
                    f"Several are called “{text}”. Write one of: {self._listed(map(self.kind.offer, found))}."
                )
        near, _ = offers(self.kind, self.queryset, text)
        hint = f" Did you mean {self._listed(near[:5])}?" if near else ""
        raise forms.ValidationError(f"There is no {self.kind.one} “{text}”.{hint}")

    @staticmethod
    def _listed(found: Any) -> str:
        return ", ".join(offer.text for offer in found)


def account_meant(rows: QuerySet[Account], text: str) -> Account | None:
    """Return the account that a text means, by id or by a name that only one has; None if there is none."""
    for wish in _account_exact(text.strip()[:_LONGEST]) if text else ():
        found = list(rows.filter(wish)[:2])
        if len(found) == 1:
            return found[0]
    return None


def one_of(field: forms.Field, rows: QuerySet[Any], kind: str) -> forms.Field:
    """Return ``field`` with these rows to choose from: as a list, or as a search if they are many."""
    assert isinstance(field, forms.ModelChoiceField)
    if rows.order_by()[: MOST_IN_A_LIST + 1].count() <= MOST_IN_A_LIST:
        field.queryset = rows
        return field
    empty = str(field.empty_label or "")
    found = SearchField(
        rows, kind=kind, label=field.label, required=field.required, help_text=field.help_text, initial=field.initial
    )
    found.widget.attrs["placeholder"] = f"{empty[:1].upper()}{empty[1:]}; type to search" if empty else "Type to search"
    return found

"""What other panels ask for, as JSON: the words of a request become the fields of a verb.

The commands and the API both come through here, so that a request means the same whichever way it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from panel.accounts.models import Account, Package, PriorityGroup, Role, Server, SignInLink, User
from panel.accounts.services import hosting, links, users
from panel.core.errors import Invalid, PanelError

_TEXTS = ("domain", "home", "system_user")
_ROWS = {"package": Package, "priority": PriorityGroup}
WORDS = frozenset((*_TEXTS, *_ROWS, "domains", "owner", "reseller", "name", "server"))


class Unknown(PanelError):
    """What is named does not exist."""

    code = "HF-NOT-FOUND"
    status = 404


def account_named(name: str) -> Account:
    """Return an account by its uid, or a living one by its name.  Unknown."""
    found = Account.objects.select_related("owner", "reseller", "package", "priority", "server")
    account = found.filter(uid=name).first()
    if account is None:
        living = list(found.living().filter(name=name)[:2])
        if len(living) > 1:
            raise Invalid(f"Several servers have an account “{name}”; name it by its uid.")
        account = living[0] if living else None
    if account is None:
        raise Unknown(f"There is no account “{name}”.")
    return account


def user_named(name: str) -> User:
    """Return a person by name.  Unknown."""
    user = User.objects.filter(username__iexact=name).first()
    if user is None:
        raise Unknown(f"There is no user “{name}”.")
    return user


def account_add(words: Mapping[str, Any], *, actor: Any, source: str = "panel") -> Account:
    """Add an account as a request says.  Invalid, Unknown, Conflict."""
    fields = _fields(words)
    server = _server(words.get("server"))
    name, home = fields.pop("name", ""), fields.pop("home", "")
    if not name or not home:
        raise Invalid("An account needs “name” and “home”.")
    return hosting.account_add(server, name, home, actor=actor, source=source, **fields)


def account_change(account: Account, words: Mapping[str, Any], *, actor: Any) -> list[str]:
    """Change an account as a request says; return which fields changed.  Invalid, Unknown, Conflict."""
    fields = _fields(words)
    if {"name", "server"} & set(words):
        raise Invalid("The name and the server of an account do not change.")
    return hosting.account_change(account, fields, actor=actor)


def user_add(words: Mapping[str, Any], *, actor: Any) -> User:
    """Add a person as a request says.  Invalid, Conflict."""
    _known(words, frozenset(("username", "email", "role", "reseller", "password", "zone")))
    reseller = words.get("reseller")
    return users.user_create(
        _text(words, "username"),
        actor=actor,
        password=_text(words, "password") or None,
        email=_text(words, "email"),
        role=_text(words, "role") or Role.END_USER,
        reseller=user_named(str(reseller)) if reseller else None,
        zone=_text(words, "zone") or "UTC",
    )


def sso_link(user: User, *, actor: Any, base: str, seconds: int = 60) -> str:
    """Return the address of a link that signs somebody in once within ``seconds`` (10 to 600).

    Administrators are signed in by their password only.  Invalid, Conflict.
    """
    if user.is_admin:
        raise Invalid("Administrators sign in by themselves; another panel cannot do it for them.")
    if not 10 <= seconds <= 600:
        raise Invalid("A sign-in link lives from 10 to 600 seconds.")
    life = links.LIFE[SignInLink.Purpose.SSO] / 60 * seconds
    secret = links.link_make(user, SignInLink.Purpose.SSO, actor=actor, life=life)
    return links.link_address(secret, SignInLink.Purpose.SSO, base)


def _fields(words: Mapping[str, Any]) -> dict[str, Any]:
    _known(words, WORDS)
    fields: dict[str, Any] = {name: _text(words, name) for name in (*_TEXTS, "name") if name in words}
    if "system_user" in fields:
        fields |= hosting.ids_of(fields["system_user"])
    if "domains" in words:
        if not isinstance(words["domains"], list) or not all(isinstance(each, str) for each in words["domains"]):
            raise Invalid("“domains” is a list of names.")
        fields["domains"] = words["domains"]
    for name, kind in _ROWS.items():
        if words.get(name) is not None:
            fields[name] = _row(kind, name, _text(words, name))
    for name in ("owner", "reseller"):
        if name in words:
            fields[name] = user_named(_text(words, name)) if words[name] else None
    return fields


def _row(kind: Any, word: str, name: str) -> Any:
    row = kind.objects.filter(name=name).first()
    if row is None:
        raise Unknown(f"There is no {word} “{name}”.")
    return row


def _server(name: Any) -> Server:
    servers = Server.objects.order_by("pk")
    found = servers.filter(name=str(name)).first() if name else servers.first()
    if found is None:
        raise Unknown(f"There is no server “{name}”." if name else "This panel knows no server yet.")
    return found


def _known(words: Mapping[str, Any], known: frozenset[str]) -> None:
    strange = sorted(set(words) - known)
    if strange:
        raise Invalid(f"“{strange[0][:40]}” is not known here; known are {', '.join(sorted(known))}.")


def _text(words: Mapping[str, Any], name: str) -> str:
    value = words.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Invalid(f"“{name}” is a text.")
    return value.strip()

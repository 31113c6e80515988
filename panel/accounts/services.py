"""Verbs about people and hosting accounts."""

from __future__ import annotations

import pwd
import secrets
import socket
from typing import Any

from django.db import transaction

from panel.accounts.models import Account, Package, PriorityGroup, Role, Server, User
from panel.audit.services import record

_FIRST_UID, _LAST_UID = 1000, 59999


def ground_rows() -> Server:
    """See that the server, the usual package and the usual priority groups are there."""
    server = Server.objects.order_by("pk").first() or Server.objects.create(name=socket.gethostname())
    Package.objects.get_or_create(name="Standard")
    for name, value in (("High", 10), ("Normal", 50), ("Low", 90)):
        values = {"backup": value, "restore": value, "download": value, "clone": value, "is_default": name == "Normal"}
        PriorityGroup.objects.get_or_create(name=name, defaults=values)
    return server


def first_administrator() -> str:
    """Make the first administrator; return the generated password, or nothing if there is one already."""
    if User.objects.filter(role=Role.ADMIN, is_active=True).exists():
        return ""
    password = secrets.token_urlsafe(12)
    User.objects.create_user("admin", password, role=Role.ADMIN)
    record("user.created", subject="user:admin")
    return password


def password_reset(name: str) -> str:
    """Give a user a new generated password and end their sessions; for the shell.  User.DoesNotExist."""
    user = User.objects.get_by_natural_key(name)
    password = secrets.token_urlsafe(12)
    user.set_password(password)
    user.is_active = True
    user.save(update_fields=["password", "is_active"])
    user.sessions.all().delete()
    record("password.reset", subject=f"user:{user.username}", by="shell")
    return password


def account_add(server: Server, name: str, home: str, **fields: Any) -> Account:
    """Store a hosting account with the default package and priority."""
    with transaction.atomic():
        account = Account.objects.create(
            server=server,
            name=name,
            home=home,
            package=Package.objects.order_by("pk")[0],
            priority=PriorityGroup.objects.get(is_default=True),
            **fields,
        )
        record("account.added", subject=f"account:{account.uid}", name=name, home=home)
    return account


def accounts_from_system(server: Server) -> int:
    """List the server's ordinary users as accounts; return how many are new.  Nothing of theirs is read."""
    known = set(Account.objects.filter(server=server).living().values_list("name", flat=True))
    new = [
        entry
        for entry in pwd.getpwall()
        if _FIRST_UID <= entry.pw_uid <= _LAST_UID and entry.pw_dir.startswith("/home/") and entry.pw_name not in known
    ]
    for entry in new:
        account_add(
            server, entry.pw_name, entry.pw_dir, system_user=entry.pw_name, system_uid=entry.pw_uid,
            system_gid=entry.pw_gid, source="system",
        )  # fmt: skip
    return len(new)

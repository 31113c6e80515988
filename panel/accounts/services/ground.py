"""The rows an installation stands on."""

from __future__ import annotations

import secrets
import socket

from panel.accounts.models import Package, PriorityGroup, Role, Server, User
from panel.audit.services import record


def ground_rows() -> Server:
    """See that the server, the usual package and the usual priority groups are there."""
    server = Server.objects.order_by("pk").first() or Server.objects.create(name=socket.gethostname())
    Package.objects.get_or_create(name="Standard")
    default = not PriorityGroup.objects.filter(is_default=True).exists()
    for name, value in (("High", 10), ("Normal", 50), ("Low", 90)):
        values = {"backup": value, "restore": value, "download": value, "clone": value}
        values["is_default"] = default and name == "Normal"
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

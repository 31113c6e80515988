"""How people and accounts look as JSON: the same for the API and for commands."""

from __future__ import annotations

from typing import Any

from panel.accounts.models import Account, User
from panel.api.answers import moment


def account_shape(account: Account) -> dict[str, Any]:
    """Return an account; sizes in bytes, times in UTC."""
    return {
        "id": account.pk,
        "uid": account.uid,
        "name": account.name,
        "status": account.status,
        "suspended_for": account.suspended_for,
        "home": account.home,
        "system_user": account.system_user,
        "domain": account.domain,
        "domains": account.domains,
        "owner": account.owner.username if account.owner else None,
        "reseller": account.reseller.username if account.reseller else None,
        "package": account.package.name,
        "priority": account.priority.name,
        "server": account.server.name,
        "source": account.source,
        "disk_bytes": account.disk_bytes,
        "inodes": account.inodes,
        "measured_at": moment(account.measured_at),
        "created_at": moment(account.created_at),
        "terminated_at": moment(account.terminated_at),
    }


def user_shape(user: User) -> dict[str, Any]:
    """Return a person."""
    return {
        "id": user.pk,
        "username": user.username,
        "email": user.email,
        "role": user.role,
        "reseller": user.reseller.username if user.reseller else None,
        "active": user.is_active,
        "two_factor": user.two_factor,
        "last_sign_in": moment(user.last_login),
        "created_at": moment(user.created_at),
    }

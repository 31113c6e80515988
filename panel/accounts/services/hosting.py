"""Hosting accounts: added by hand, by the system, or by another panel; changed, suspended, ended."""

from __future__ import annotations

import copy
import posixpath
import pwd
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from panel.accounts.adapters import HostingAccount, HostingAdapter, SystemUsers
from panel.accounts.adapters.system import FIRST_UID
from panel.accounts.models import Account, AccountStatus, Package, PriorityGroup, Role, Server, User
from panel.audit.services import record
from panel.core.errors import Conflict, Invalid, NotAllowed

_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,59}", re.IGNORECASE).fullmatch
_DOMAIN = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))+", re.IGNORECASE).fullmatch
_FORBIDDEN_HOMES = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr",
)  # fmt: skip
_SHARED_HOMES = frozenset((
    "/", "/home", "/var", "/srv", "/opt", "/mnt", "/media", "/tmp", "/var/tmp", "/var/www", "/var/lib",  # noqa: S108
    "/var/log", "/var/backups", "/var/www/vhosts",
))  # fmt: skip
_CHANGEABLE = (
    "domain", "domains", "owner", "reseller", "package", "priority", "home", "system_user", "system_uid", "system_gid",
)  # fmt: skip


def account_add(server: Server, name: str, home: str, *, actor: Any = None, **fields: Any) -> Account:
    """Store a hosting account; without a package or priority group it gets the default ones.

    Invalid for a name, home or domain that cannot be one; Conflict if a living account has this name.
    """
    fields.setdefault("package", None)
    fields["package"] = fields["package"] or _default_package()
    fields["priority"] = fields.get("priority") or PriorityGroup.objects.get(is_default=True)
    account = Account(server=server, name=checked_name(name), home=checked_home(home), **fields)
    _check_domains(account)
    _check_people(account)
    try:
        with transaction.atomic():
            account.save()
            record("account.added", actor=actor, subject=f"account:{account.uid}", name=name, home=account.home)
    except IntegrityError:
        raise Conflict(f"There is an account “{name}” on {server} already.") from None
    return account


def account_change(account: Account, changes: Mapping[str, Any], *, actor: Any) -> list[str]:
    """Change fields of an account and return the names of those that really changed.

    Invalid for values that cannot be; NotAllowed for a reseller's attempt at more than the owner.
    """
    if account.status == AccountStatus.TERMINATED:
        raise Conflict("A terminated account does not change any more.")
    if not actor_is_admin(actor) and set(changes) - {"owner"}:
        raise NotAllowed("Resellers change only whose account it is.")
    changed: dict[str, list[str]] = {}
    wished = copy.copy(account)
    for name in _CHANGEABLE:
        if name in changes and getattr(account, name) != changes[name]:
            changed[name] = [str(getattr(account, name) or ""), str(changes[name] or "")]
            setattr(wished, name, changes[name])
    if "home" in changed:
        wished.home = checked_home(wished.home)
    _check_domains(wished)
    _check_people(wished, actor)
    for name in changed:
        setattr(account, name, getattr(wished, name))
    if changed:
        with transaction.atomic():
            account.save(update_fields=list(changed))
            record("account.changed", actor=actor, subject=f"account:{account.uid}", name=account.name, **changed)
    return list(changed)


def account_suspend(account: Account, *, reason: str = "", actor: Any) -> None:
    """Suspend an account: no schedule backs it up until it is resumed.  Conflict unless it is active."""
    _move(
        account, AccountStatus.ACTIVE, AccountStatus.SUSPENDED, "account.suspended", actor, suspended_for=reason[:200]
    )


def account_resume(account: Account, *, actor: Any) -> None:
    """End a suspension.  Conflict unless the account is suspended."""
    _move(account, AccountStatus.SUSPENDED, AccountStatus.ACTIVE, "account.resumed", actor, suspended_for="")


def account_terminate(account: Account, *, actor: Any) -> None:
    """End an account for good.  Its own schedules stop, its backups become orphans.  Conflict if it has ended."""
    states = [AccountStatus.ACTIVE, AccountStatus.SUSPENDED]
    with transaction.atomic():
        found = Account.objects.filter(pk=account.pk, status__in=states)
        if not found.update(status=AccountStatus.TERMINATED, terminated_at=timezone.now()):
            raise Conflict("This account has ended already.")
        stopped = account.schedules.filter(deleted_at=None, is_enabled=True).update(is_enabled=False)
        subject = f"account:{account.uid}"
        record("account.terminated", actor=actor, subject=subject, name=account.name, schedules_stopped=stopped)
    account.refresh_from_db()


def orphans_reassign(orphan: Account, target: Account, *, actor: Any) -> int:
    """Give the backups of a terminated account to a living one; return how many snapshots moved.  Conflict, Invalid."""
    if orphan.status != AccountStatus.TERMINATED:
        raise Conflict("Only backups of a terminated account can be given away.")
    if target.status == AccountStatus.TERMINATED or target.pk == orphan.pk:
        raise Invalid("Choose an account that has not ended.")
    with transaction.atomic():
        orphan.repositories.update(account=target)
        moved: int = orphan.snapshots.update(account=target)
        subject = f"account:{orphan.uid}"
        record("orphans.reassigned", actor=actor, subject=subject, to=target.uid, snapshots=moved)
    return moved


def accounts_from_system(server: Server, source: HostingAdapter | None = None) -> int:
    """List the accounts the server's adapter knows; return how many are new.  Nothing of theirs is read.

    An account that ended here stays ended: one of the same name that the server still has becomes another account.
    """
    adapter = source or SystemUsers()
    known = {account.name: account for account in Account.objects.filter(server=server).living()}
    new = 0
    for found in adapter.accounts():
        row = known.get(found.name)
        if row is None:
            new += _add_found(server, found, adapter.source)
        elif row.source == adapter.source and _differs(row, found):
            Account.objects.filter(pk=row.pk).update(system_uid=found.uid, system_gid=found.gid, home=found.home)
            record("account.moved", subject=f"account:{row.uid}", name=row.name, home=found.home, uid=found.uid)
    return new


def _differs(row: Account, found: HostingAccount) -> bool:
    return (row.system_uid, row.system_gid, row.home) != (found.uid, found.gid, found.home)


def _add_found(server: Server, found: HostingAccount, source: str) -> int:
    domain, *more = [*found.domains, ""]
    fields = {"domain": domain, "domains": [name for name in more if name]}
    try:
        account_add(
            server, found.name, found.home, system_user=found.system_user, system_uid=found.uid,
            system_gid=found.gid, source=source, **fields,
        )  # fmt: skip
    except (Invalid, Conflict):
        return 0
    return 1


def usage_save(account: Account, disk_bytes: int, inodes: int) -> None:
    """Keep what an account was measured to use."""
    Account.objects.filter(pk=account.pk).update(disk_bytes=disk_bytes, inodes=inodes, measured_at=timezone.now())


def checked_name(name: str) -> str:
    """Return an account's name.  Invalid unless it is letters, digits and ``. _ -``, up to 60."""
    if not _NAME(name):
        raise Invalid("An account's name is made of letters, digits, dots, dashes and underscores, up to 60.")
    return name


def checked_home(home: str) -> str:
    """Return a home folder without a trailing slash.  Invalid for one that belongs to the system or to everybody."""
    if not home.startswith("/") or "\0" in home or ".." in PurePosixPath(home).parts or len(home) > 500:
        raise Invalid("Write the home folder as a whole path, such as /home/alice.")
    plain = "/" + posixpath.normpath(home).strip("/")
    path = PurePosixPath(plain)
    system = plain in _SHARED_HOMES or any(path.is_relative_to(folder) for folder in _FORBIDDEN_HOMES)
    if (system or _holds_the_panel(path)) and not _is_sample(path):
        raise Invalid(f"{plain} belongs to the system, not to an account.")
    return plain


def _holds_the_panel(path: PurePosixPath) -> bool:
    data = PurePosixPath(settings.DATA_DIR)
    return data.is_relative_to(path) or path.is_relative_to(data)


def _is_sample(path: PurePosixPath) -> bool:
    return path.is_relative_to(PurePosixPath(settings.DATA_DIR) / "sample" / "home")


def checked_domains(names: Iterable[str]) -> list[str]:
    """Return domain names in lower case, each once.  Invalid names the first that is none."""
    found: list[str] = []
    for name in names:
        plain = name.strip().rstrip(".").lower()
        if plain and not _DOMAIN(plain):
            raise Invalid(f"“{name.strip()[:80]}” is not a domain name.")
        if plain and plain not in found:
            found.append(plain)
    return found


def actor_is_admin(actor: Any) -> bool:
    """Tell whether a change is made by an administrator, or by the system itself."""
    return actor is None or bool(getattr(actor, "is_admin", False))


def _check_domains(account: Account) -> None:
    account.domain = next(iter(checked_domains([account.domain])), "")
    account.domains = [name for name in checked_domains(account.domains) if name != account.domain]


def _check_people(account: Account, actor: Any = None) -> None:
    reseller: User | None = account.reseller
    if reseller is not None and reseller.role != Role.RESELLER:
        raise Invalid(f"{reseller} is not a reseller.")
    if actor_is_admin(actor) or account.owner is None:
        return
    if not User.objects.visible_to(actor).filter(pk=account.owner.pk).exists():
        raise Invalid("There is no such customer of yours.")


def _default_package() -> Package:
    return Package.objects.order_by("pk")[0]


def _move(account: Account, before: str, after: str, action: str, actor: Any, **fields: Any) -> None:
    with transaction.atomic():
        if not Account.objects.filter(pk=account.pk, status=before).update(status=after, **fields):
            raise Conflict(f"The account is {account.get_status_display().lower()}; this is not possible now.")
        record(action, actor=actor, subject=f"account:{account.uid}", name=account.name, **fields)
    account.refresh_from_db()


def ids_of(system_user: str) -> dict[str, int | None]:
    """Return the numbers of a system user as fields of an account; Invalid if the server has no such user.

    Root and other users of the system are refused: what an account restores is written as its user.
    """
    if not system_user:
        return {"system_uid": None, "system_gid": None}
    try:
        entry = pwd.getpwnam(system_user)
    except KeyError:
        raise Invalid(f"This server has no user “{system_user}”.") from None
    if entry.pw_uid < FIRST_UID:
        raise Invalid(f"“{system_user}” is a user of the system itself.")
    return {"system_uid": entry.pw_uid, "system_gid": entry.pw_gid}

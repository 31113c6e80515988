"""Packages and priority groups: what accounts are grouped by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from panel.accounts.models import Package, PriorityGroup
from panel.audit.services import record
from panel.core.errors import Conflict, Invalid

PERMISSIONS = ("may_restore", "may_download", "may_schedule", "may_use_api", "server_backups", "custom_storage")
NUMBERS = ("backup", "restore", "download", "clone")


def package_save(package: Package, values: Mapping[str, Any], *, actor: Any) -> Package:
    """Store a new or changed package.  Conflict for a name that is taken."""
    return _save(package, values, ("name", *PERMISSIONS), "package", actor)


def package_delete(package: Package, *, actor: Any) -> None:
    """Remove a package.  Conflict while an account has it, or if it is the last one."""
    if Package.objects.count() == 1:
        raise Conflict("The last package stays: every account has one.")
    _delete(package, "package", actor)


def priority_save(group: PriorityGroup, values: Mapping[str, Any], *, actor: Any) -> PriorityGroup:
    """Store a new or changed priority group; a lower number goes first.  Invalid, Conflict."""
    for name in NUMBERS:
        if name in values and not 0 <= int(values[name]) <= 999:
            raise Invalid("Priorities go from 0 to 999; a lower number goes first.")
    return _save(group, values, ("name", *NUMBERS), "priority", actor)


def priority_default(group: PriorityGroup, *, actor: Any) -> None:
    """Make this the group that new accounts get; exactly one is."""
    with transaction.atomic():
        PriorityGroup.objects.filter(is_default=True).update(is_default=False)
        PriorityGroup.objects.filter(pk=group.pk).update(is_default=True)
        record("priority.default", actor=actor, subject=f"priority:{group.name}")


def priority_delete(group: PriorityGroup, *, actor: Any) -> None:
    """Remove a group.  Conflict while an account is in it, or if it is the default."""
    if group.is_default:
        raise Conflict("This is the default group; make another one the default first.")
    _delete(group, "priority", actor)


def _save(row: Any, values: Mapping[str, Any], names: tuple[str, ...], word: str, actor: Any) -> Any:
    new = row.pk is None
    changed = {}
    for name in names:
        if name in values and (new or getattr(row, name) != values[name]):
            changed[name] = values[name] if new else [getattr(row, name), values[name]]
            setattr(row, name, values[name])
    if not changed:
        return row
    try:
        with transaction.atomic():
            row.save()
            record(f"{word}.{'created' if new else 'changed'}", actor=actor, subject=f"{word}:{row.name}", **changed)
    except IntegrityError:
        raise Conflict(f"There is one called “{row.name}” already.") from None
    return row


def _delete(row: Any, word: str, actor: Any) -> None:
    count = row.accounts.count()
    if count:
        raise Conflict(
            f"{count} account{'s' if count > 1 else ''} still have “{row.name}”; give them another one first."
        )
    try:
        with transaction.atomic():
            row.delete()
            record(f"{word}.deleted", actor=actor, subject=f"{word}:{row.name}")
    except ProtectedError:
        raise Conflict(f"Something still uses “{row.name}”.") from None

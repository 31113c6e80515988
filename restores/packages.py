"""Which package an account has after it was restored as a whole (RST-12): the one it has now, or the one in the backup.

A package gives rights, so that only an administrator chooses, and only a repository is believed whose key no customer
has.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from backups.models import Scope, Snapshot
from panel.accounts.models import Account, Package
from panel.accounts.services.hosting import account_change
from panel.core.errors import Conflict, Invalid, NotAllowed
from restores.choosing import Part, is_inside, whole_component
from restores.models import PackageChoice, Restore


class NoSuchPackage(Conflict):
    """The package of the backup is not on this panel."""

    code = "HF-PACKAGE"
    guidance = "Make a package of this name, or choose another one on the account's page. The files are restored."


def may_bring_package(snapshot: Snapshot) -> bool:
    """Tell whether a restore of everything of this snapshot can bring its package back."""
    return snapshot.scope == Scope.FULL and snapshot.repository.account_id is None


def check_package(choice: str, parts: Sequence[Part], *, in_place: bool, by_admin: bool) -> None:
    """Raise Invalid or NotAllowed unless a restore of these parts may give the account this package."""
    if choice == PackageChoice.LIVE:
        return
    if choice not in PackageChoice.values:
        raise Invalid("Choose which package the account has afterwards.")
    if not by_admin:
        raise NotAllowed("Only an administrator chooses the package of an account.")
    if not in_place or len(parts) != 1 or not _is_everything(parts[0]):
        raise Invalid("The package comes back only with everything of a full backup, in place.")
    if not may_bring_package(parts[0].snapshot):
        raise NotAllowed("The package comes back from a server-wide repository only: a customer knows this one's key.")


def package_restore(restore: Restore, name: str) -> str:
    """Give an account the package that its snapshot names; return what was done.  NoSuchPackage, PanelError."""
    if not name:
        raise NoSuchPackage("The restore point does not say which package the account had.")
    account = restore.account
    if account.package.name == name:
        return f"the account has the package of the backup already: {name}"
    package = Package.objects.filter(name=name).first()
    if package is None:
        raise NoSuchPackage(f"The account keeps “{account.package}”: there is no package “{name}” on this panel.")
    before = account.package
    with transaction.atomic():
        Restore.objects.filter(pk=restore.pk).update(package_was=before)
        account_change(account, {"package": package}, actor=restore.requested_by)
    return f"the account has the package of the backup: {name}; it had {before}"


def package_undo(restore: Restore) -> str:
    """Give an account the package back that a restore took from it; return what was done, or nothing.  PanelError."""
    undone = restore.undo_of
    if undone is None or undone.package_was is None or not restore.by_admin:
        return ""
    account = Account.objects.select_related("package").get(pk=restore.account_id)
    account_change(account, {"package": undone.package_was}, actor=restore.requested_by)
    return f"the account has the package of before: {undone.package_was}"


def _is_everything(part: Part) -> bool:
    snapshot = part.snapshot
    wanted = [whole_component(snapshot, component) for component in snapshot.components]
    return snapshot.scope == Scope.FULL and all(any(is_inside(path, one) for one in part.paths) for path in wanted)

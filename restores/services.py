"""Asking for a restore, for its undo, and for a download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction

from backups.models import Repository
from backups.spelling import clean
from panel.accounts.models import Account, AccountStatus
from panel.audit.services import record
from panel.core.errors import Conflict, Invalid, NotAllowed
from restores.choosing import (
    Part,
    check_may_place,
    cleaned,
    home_path,
    is_inside,
    name_of_all,
    narrowed,
    scope_of_all,
)
from restores.conditions import check_accepted, check_restore_limit
from restores.models import ArchiveFormat, Download, Overwrite, PackageChoice, Restore, Target
from restores.packages import check_package
from worker.clock import now
from worker.enqueue import ItemRequest, JobRequest, job_enqueue
from worker.models import Job
from worker.states import ENDED, LIVE, Kind, State

MOST_BUILDING = 5
"""Downloads of one account that may wait or be built at one time."""


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What is wanted back, where to, and how.

    ``folder`` (spelled, in the home; empty = a new one) counts for the target *folder*.  ``mirror`` deletes what the
    snapshot does not have; ``exact`` brings back foreign owners, special bits and devices, for administrators.
    ``package`` says which package the account has afterwards (RST-12).  ``request_key`` makes a repeated request the
    same restore.  ``accepted`` are the marks of the conditions that the person read and accepted.
    """

    parts: Sequence[Part]
    target: str = Target.IN_PLACE
    folder: str = ""
    overwrite: str = Overwrite.IF_DIFFERENT
    mirror: bool = False
    exact: bool = False
    safety: bool = True
    request_key: str = ""
    package: str = PackageChoice.LIVE
    accepted: frozenset[str] = frozenset()


def restore_request(request: RestoreRequest, *, actor: Any, undo_of: Restore | None = None) -> list[Restore]:
    """Store restores and their jobs, one for each repository that is asked.

    NotAllowed, Invalid, Conflict; NotAccepted and TooOften of people who are no administrators.
    """
    account = _account_of(request.parts)
    if not actor.is_admin and not account.package.may_restore:
        raise NotAllowed("Your package does not allow restores.")
    if account.status == AccountStatus.SUSPENDED and not actor.is_admin:
        raise NotAllowed("This account is suspended; nothing can be restored into it.")
    if account.status == AccountStatus.TERMINATED:
        raise Conflict("This account was terminated; its files can be downloaded.")
    if request.overwrite not in Overwrite.values or request.target not in Target.values:
        raise Invalid("Choose where to restore and what happens to existing files.")
    request = _settled(request, account)
    for part in request.parts:
        in_place = request.target == Target.IN_PLACE
        check_may_place(part.paths, account, part.snapshot, in_place=in_place, by_admin=actor.is_admin)
    check_package(request.package, request.parts, in_place=request.target == Target.IN_PLACE, by_admin=actor.is_admin)
    if request.safety and request.target == Target.IN_PLACE:
        for part in request.parts:
            if part.snapshot.repository.destination.read_only:
                raise Conflict(
                    "The storage of this restore point is read-only, so no safety snapshot can be made there. "
                    "Restore into another folder, or go on without undo."
                )
    conditions = [] if undo_of else check_accepted(request.accepted, actor)
    with transaction.atomic():
        Account.objects.select_for_update().get(pk=account.pk)
        if undo_of is None and not _is_repeated(request, account, actor):
            check_restore_limit(account, actor)
        return [
            _restore_store(request, account, repository, parts, actor=actor, undo_of=undo_of, conditions=conditions)
            for repository, parts in by_repository(request.parts)
        ]


def restore_undo(restore: Restore, *, actor: Any) -> Restore:
    """Bring back what a restore replaced: its paths become exactly as its safety snapshot has them.  Conflict."""
    if restore.safety is None or restore.safety.removed_at is not None:
        raise Conflict("There is no safety snapshot of this restore any more.")
    if restore.job.state not in ENDED:
        raise Conflict("This restore is still running.")
    if not restore.may_be_undone:
        raise Conflict("This restore was undone already.")
    request = RestoreRequest(
        undo_parts(restore), overwrite=Overwrite.ALWAYS, mirror=restore.safety_whole, exact=actor.is_admin
    )
    with transaction.atomic():
        # One that failed or was stopped makes room for another try.
        Restore.objects.filter(undo_of=restore, job__state__in=(State.FAILED, State.ABORTED)).update(undo_of=None)
        return restore_request(request, actor=actor, undo_of=restore)[0]


def undo_parts(restore: Restore) -> list[Part]:
    """Return what an undo brings back."""
    if restore.safety is None:
        return []
    return [Part(restore.safety, cleaned(path for part in restore.parts for path in part["paths"]))]


def download_request(parts: Sequence[Part], form: str, *, actor: Any, request_key: str = "") -> list[Download]:
    """Store downloads and their jobs, one for each repository that is asked.  NotAllowed, Invalid, Conflict."""
    account = _account_of(parts)
    if not actor.is_admin and not account.package.may_download:
        raise NotAllowed("Your package does not allow downloads.")
    if form not in ArchiveFormat.values:
        raise Invalid("Choose zip or tar.gz.")
    with transaction.atomic():
        building = Download.objects.filter(account=account, job__state__in=LIVE).count()
        if building >= MOST_BUILDING:
            raise Conflict(f"{building} downloads of this account are being built already; wait for them.")
        return [
            _download_store(found, form, account, repository, actor=actor, request_key=request_key)
            for repository, found in by_repository(parts)
        ]


def by_repository(parts: Sequence[Part]) -> list[tuple[Repository, list[Part]]]:
    """Return the parts of each repository; of one snapshot there is one part."""
    found: dict[int, tuple[Repository, dict[int, Part]]] = {}
    for part in parts:
        _, mine = found.setdefault(part.snapshot.repository_id, (part.snapshot.repository, {}))
        known = mine.get(part.snapshot.pk)
        mine[part.snapshot.pk] = Part(part.snapshot, cleaned([*(known.paths if known else ()), *part.paths]))
    return [(repository, list(mine.values())) for repository, mine in found.values()]


def checked_path(path: str, home: str) -> str:
    """Return a path of the web component that lies in an account's home.  Invalid for any other."""
    inside = home_path(home)
    (found,) = cleaned([path])
    if found and is_inside(inside, found):
        return inside
    if found != path.strip("/") or not is_inside(found, inside):
        raise Invalid("Only files of the account's home can be restored by themselves; download the others.")
    return found


def _account_of(parts: Sequence[Part]) -> Account:
    if not parts or not all(part.paths for part in parts):
        raise Invalid("Nothing is chosen.")
    accounts = {part.snapshot.account for part in parts}
    account = accounts.pop()
    if accounts:
        raise Invalid("Restore points of several accounts cannot be mixed.")
    if account is None:
        raise Conflict("The account of this restore point is gone; an administrator can re-assign it.")
    for part in parts:
        if part.snapshot.removed_at is not None:
            raise Conflict("This restore point does not exist any more.")
        destination = part.snapshot.repository.destination
        if not destination.is_enabled or destination.removed_at is not None:
            raise Conflict("The storage of this restore point is switched off.")
    return account


def _settled(request: RestoreRequest, account: Account) -> RestoreRequest:
    """Return the request with paths in their one spelling and a folder that is one.  Invalid."""
    parts = [Part(part.snapshot, cleaned(narrowed(part.paths, account))) for part in request.parts]
    if request.target == Target.IN_PLACE:
        return replace(request, parts=parts, folder="")
    try:
        folder = clean(request.folder or f"restored-{now():%Y-%m-%d-%H%M%S}")
    except ValueError as error:
        raise Invalid("This is no name of a folder in the home.") from error
    if not folder or len(folder) > 1000:
        raise Invalid("This is no name of a folder in the home.")
    return replace(request, parts=parts, folder=folder, mirror=False, overwrite=Overwrite.NEVER)


def _is_repeated(request: RestoreRequest, account: Account, actor: Any) -> bool:
    """Tell whether the same request was stored before: it is no further restore."""
    if not request.request_key:
        return False
    mine = Restore.objects.filter(account=account, requested_by=actor)
    return mine.filter(job__request_key__endswith=f":{request.request_key}").exists()


def _restore_store(
    request: RestoreRequest,
    account: Account,
    repository: Repository,
    parts: list[Part],
    *,
    actor: Any,
    undo_of: Restore | None,
    conditions: list[int],
) -> Restore:
    in_place = request.target == Target.IN_PLACE
    job = _job(
        Kind.RESTORE, account, repository, parts,
        name=f"{account.name} · Undo" if undo_of else f"{account.name} · {name_of_all(parts, account)}",
        trigger="undo" if undo_of else "manual",
        actor=actor,
        request_key=request.request_key,
        spec={"safety": request.safety and in_place},
    )  # fmt: skip
    earlier = Restore.objects.filter(job=job).first()
    if earlier is not None:
        return earlier
    restore = Restore.objects.create(
        job=job,
        account=account,
        snapshot=parts[0].snapshot,
        parts=[part.stored() for part in parts],
        target=request.target,
        folder=request.folder,
        overwrite=request.overwrite,
        mirror=request.mirror and in_place,
        exact=request.exact and actor.is_admin,
        package=request.package,
        requested_by=actor,
        by_admin=actor.is_admin,
        undo_of=undo_of,
    )
    record(
        "restore.undo" if undo_of else "restore.requested", actor=actor, subject=f"account:{account.uid}", job=job.pk,
        snapshots=[part.snapshot.short for part in parts], paths=sum(len(part.paths) for part in parts),
        first=parts[0].paths[0][:300], target=request.target, folder=request.folder[:300],
        overwrite=request.overwrite, mirror=restore.mirror, safety=request.safety and in_place,
        **({} if request.package == PackageChoice.LIVE else {"package": request.package}),
        **({"accepted": conditions} if conditions else {}),
    )  # fmt: skip
    return restore


def _download_store(
    parts: list[Part], form: str, account: Account, repository: Repository, *, actor: Any, request_key: str
) -> Download:
    name = name_of_all(parts, account)
    job = _job(
        Kind.DOWNLOAD, account, repository, parts, name=f"{account.name} · {name}", trigger="manual", actor=actor,
        request_key=request_key, spec={},
    )  # fmt: skip
    earlier = Download.objects.filter(job=job).first()
    if earlier is not None:
        return earlier
    stem = "".join(letter if (letter.isalnum() and letter.isascii()) or letter in "._-" else "-" for letter in name)
    download = Download.objects.create(
        job=job,
        account=account,
        snapshot=parts[0].snapshot,
        parts=[part.stored() for part in parts],
        format=form,
        name=f"{account.name}-{stem.strip('.-')[:60]}-{parts[0].snapshot.taken_at:%Y-%m-%d}.{form}",
        requested_by=actor,
    )
    record(
        "download.requested", actor=actor, subject=f"account:{account.uid}", job=job.pk, format=form,
        snapshots=[part.snapshot.short for part in parts], paths=sum(len(part.paths) for part in parts),
        first=parts[0].paths[0][:300],
    )  # fmt: skip
    return download


def _job(
    kind: Kind,
    account: Account,
    repository: Repository,
    parts: list[Part],
    *,
    name: str,
    trigger: str,
    actor: Any,
    request_key: str,
    spec: dict[str, Any],
) -> Job:
    item = ItemRequest(
        account=account,
        spec={"repository": repository.pk, "destination": repository.destination.name},
        lease=repository.lease,
    )
    mine = f"{kind}:{actor.pk}:{repository.pk}:{request_key}"[:120] if request_key else None
    return job_enqueue(
        JobRequest(
            kind=kind,
            name=name[:200],
            scope=scope_of_all(parts),
            subject=f"snapshot:{parts[0].snapshot.pk}",
            trigger=trigger,
            server=account.server,
            account=account,
            requested_by=actor,
            request_key=mine,
            spec=spec,
            items=[item],
        )
    )

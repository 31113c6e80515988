"""Asking for a restore, and for its undo."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from backups.models import Snapshot
from panel.audit.services import record
from panel.core.errors import Conflict, Invalid, NotAllowed
from restores.models import Overwrite, Restore
from worker.clock import now
from worker.enqueue import ItemRequest, JobRequest, job_enqueue
from worker.states import ENDED, Kind


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What is wanted back.  ``paths`` begin with a component (``web/home/alice/index.html``); empty = all of web."""

    snapshot: Snapshot
    paths: Sequence[str]
    target: str = Restore.Target.IN_PLACE
    overwrite: str = Overwrite.IF_DIFFERENT
    mirror: bool = False
    safety: bool = True


def restore_request(request: RestoreRequest, *, actor: Any, undo_of: Restore | None = None) -> Restore:
    """Store a restore and its job.  NotAllowed, Invalid, Conflict."""
    snapshot, account = request.snapshot, request.snapshot.account
    if account is None:
        raise Conflict("The account of this snapshot is gone; an administrator can re-assign it.")
    if not actor.is_admin and not account.package.may_restore:
        raise NotAllowed("Your package does not allow restores.")
    paths = [checked_path(path, account.home) for path in request.paths] or [f"web{account.home}"]
    if request.overwrite not in Overwrite.values or request.target not in Restore.Target.values:
        raise Invalid("Choose where to restore and what happens to existing files.")
    in_place = request.target == Restore.Target.IN_PLACE
    moment = now()
    with transaction.atomic():
        job = job_enqueue(
            JobRequest(
                kind=Kind.RESTORE,
                name=f"{account.name} · {_what(paths, account.home)}",
                scope="web",
                subject=f"snapshot:{snapshot.pk}",
                trigger="undo" if undo_of else "manual",
                server=account.server,
                account=account,
                requested_by=actor,
                spec={"safety": request.safety and in_place},
                items=[
                    ItemRequest(
                        account=account,
                        spec={
                            "repository": snapshot.repository_id,
                            "destination": snapshot.repository.destination.name,
                        },
                        lease=snapshot.repository.lease,
                    )
                ],
            )
        )
        restore = Restore.objects.create(
            job=job,
            account=account,
            snapshot=snapshot,
            paths=paths,
            target=request.target,
            folder="" if in_place else f"restored-{moment:%Y-%m-%d-%H%M%S}",
            overwrite=request.overwrite,
            mirror=request.mirror,
            requested_by=actor,
            undo_of=undo_of,
        )
        record("restore.requested", actor=actor, subject=f"snapshot:{snapshot.pk}", job=job.pk, paths=len(paths))
    return restore


def restore_undo(restore: Restore, *, actor: Any) -> Restore:
    """Bring back what a restore replaced: its paths become exactly as its safety snapshot has them.  Conflict."""
    if restore.safety is None or restore.safety.removed_at is not None:
        raise Conflict("There is no safety snapshot of this restore any more.")
    if restore.job.state not in ENDED:
        raise Conflict("This restore is still running.")
    if Restore.objects.filter(undo_of=restore).exists():
        raise Conflict("This restore was undone already.")
    request = RestoreRequest(
        restore.safety, restore.paths, Restore.Target.IN_PLACE, Overwrite.ALWAYS, mirror=True, safety=False
    )
    return restore_request(request, actor=actor, undo_of=restore)


def checked_path(path: str, home: str) -> str:
    """Return a path of the web component that lies in an account's home.  Invalid for any other."""
    clean = path.strip("/")
    inside = f"web{posixpath.normpath(home)}"
    if "\0" in clean or posixpath.normpath(clean) != clean:
        raise Invalid("That is no path of a snapshot.")
    if inside == clean or inside.startswith(clean + "/"):
        return inside
    if not clean.startswith(inside + "/"):
        raise Invalid("Only files of the account's home can be restored by themselves; download the others.")
    return clean


def _what(paths: Sequence[str], home: str) -> str:
    if list(paths) == [f"web{home}"]:
        return "Web files"
    first = paths[0].rsplit("/", 1)[-1]
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"

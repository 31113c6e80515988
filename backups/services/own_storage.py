"""Storage of a schedule's own: a destination behind the schedule's form that no other schedule uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backups.models import Repository, Schedule, Snapshot
from destinations.models import Destination
from destinations.selectors import custom_accounts
from destinations.services import DestinationData, FieldInvalid, destination_remove, destination_save
from panel.core.errors import Conflict, NotAllowed

_LONGEST_NAME = 40
_PLACE = ("bucket", "prefix", "path")
_WORDS = {"s3": "S3", "sftp": "SFTP", "ftp": "FTP"}


@dataclass(frozen=True, slots=True)
class OwnStorage:
    """What a form says of it: ``kind`` empty is none; ``secrets`` are those typed anew.

    ``config`` may leave out what stays as it is.
    """

    kind: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str | None] = field(default_factory=dict)


def own_storage_of(schedule: Schedule) -> Destination | None:
    """Return the storage of the schedule's own, if it has one that was not removed."""
    own = schedule.own_storage
    return own if own is not None and own.removed_at is None else None


def may_change_own_storage(viewer: Any, schedule: Schedule | None) -> bool:
    """Tell whether a viewer may enter storage in the form of a schedule (None = a new one)."""
    if viewer.is_admin:
        return True
    accounts = custom_accounts(viewer)
    if schedule is None:
        return bool(accounts.exists())
    own = own_storage_of(schedule)
    return bool(accounts.filter(pk=schedule.account_id).exists() and (own is None or own.account_id is not None))


def own_storage_save(schedule: Schedule, data: OwnStorage, *, actor: Any) -> Destination | None:
    """Make, change or let go the storage of a stored schedule's own; returns it.  FieldInvalid, NotAllowed.

    What is let go while it holds backups becomes an ordinary destination: its restore points stay.
    """
    own = own_storage_of(schedule)
    if not _differs(own, data):
        return own
    if actor is not None and not may_change_own_storage(actor, schedule):
        raise NotAllowed("Your package has no storage of your own." if own is None else "An administrator set it.")
    if own is not None and own.kind != data.kind:
        _let_go(schedule, own, actor)
        own = None
    if not data.kind:
        return None
    row = destination_save(_full(schedule, data, own, actor), actor=actor, destination=own)
    schedule.own_storage = row
    schedule.save(update_fields=["own_storage"])
    return row


def _differs(own: Destination | None, data: OwnStorage) -> bool:
    if own is None or own.kind != data.kind:
        return bool(own or data.kind)
    return bool(data.secrets) or any(own.config.get(name, "") != value for name, value in data.config.items())


def _full(schedule: Schedule, data: OwnStorage, own: Destination | None, actor: Any) -> DestinationData:
    """Return all of the settings; of a storage that is there, what is not named stays."""
    if own is not None:
        moved = Repository.objects.filter(destination=own).exists() and [
            name for name in _PLACE if name in data.config and data.config[name] != own.config.get(name, "")
        ]
        if moved:
            text = "Backups are stored there. To move, choose “None” and save; then enter the new place."
            raise FieldInvalid(text, moved[0])
        config = own.config | dict(data.config)
        return DestinationData(own.kind, own.name, config, data.secrets, own.account, own.read_only, own.is_enabled)
    account = None if actor is None or actor.is_admin else schedule.account
    return DestinationData(data.kind, _free_name(schedule, data.kind), data.config, data.secrets, account)


def _free_name(schedule: Schedule, kind: str) -> str:
    for number in range(1, 1000):
        ending = f" ({_WORDS[kind]}{f' {number}' if number > 1 else ''})"
        name = schedule.name[: _LONGEST_NAME - len(ending)].rstrip() + ending
        if not Destination.objects.present().filter(name=name).exists():
            return name
    raise Conflict("Many destinations are called like this schedule; give it another name.")


def _let_go(schedule: Schedule, own: Destination, actor: Any) -> None:
    """Part with it: without backups it is removed, with them it becomes a destination like others."""
    schedule.own_storage = None
    schedule.save(update_fields=["own_storage"])
    schedule.destinations.remove(own)
    if not Snapshot.objects.filter(repository__destination=own, removed_at=None).exists():
        try:
            destination_remove(own, actor=actor)
        except Conflict:
            return

"""Making, changing, testing and removing destinations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import transaction

from destinations.models import Destination, DestinationKind, S3Defaults
from destinations.sealing import SECRETS, defaults_place, receiver, sealer, secret_place
from destinations.storage.config import from_plain
from destinations.storage.errors import BadConfig
from panel.accounts.models import Account, Server
from panel.audit.services import record
from panel.core.errors import Conflict, Invalid, NotAllowed
from worker.clock import now
from worker.enqueue import ItemRequest, JobRequest, job_enqueue
from worker.models import Job
from worker.states import LIVE, Kind

_PLACE = ("path", "bucket", "prefix")


class FieldInvalid(Invalid):
    """One field of a form cannot be used; ``field`` names it."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.field = name


@dataclass(frozen=True, slots=True)
class DestinationData:
    """What a form or a caller says of a destination.

    ``secrets`` holds what was typed anew; None forgets a stored one, and what is not named stays.
    """

    kind: str
    name: str
    config: Mapping[str, Any]
    secrets: Mapping[str, str | None] = field(default_factory=dict)
    account: Account | None = None
    read_only: bool = False
    is_enabled: bool = True


def destination_save(data: DestinationData, *, actor: Any, destination: Destination | None = None) -> Destination:
    """Store a new destination, or change one; its secrets are sealed here.  Invalid, Conflict, NotAllowed."""
    check_may_store(actor, data.account, data.kind)
    row = destination or Destination(kind=data.kind, account=data.account)
    if row.kind != data.kind or row.account_id != (data.account.pk if data.account else None):
        raise Conflict("A destination keeps its kind and its owner; make another one.")
    config = dict(data.config)
    if row.pk and row.config.get("host_keys") and receiver_host(row.config) == receiver_host(config):
        config.setdefault("host_keys", row.config["host_keys"])
    _check_name(data.name, row)
    _check_place(row, config)
    _check_secrets(row, data, config)
    _check_config(data, config)
    with transaction.atomic():
        changed = not row.pk or row.config != config or bool(data.secrets) or row.read_only != data.read_only
        if changed:
            row.tested_at = row.test_ok = None
            row.test_report = []
        row.name, row.config, row.is_enabled, row.read_only = data.name, config, data.is_enabled, data.read_only
        row.save()
        row.sealed = _sealed(row, data.secrets)
        row.save(update_fields=["sealed"])
        record("destination.saved", actor=actor, subject=f"destination:{row.pk}", name=row.name, kind=row.kind)
    return row


def local_destination_save(*, actor: Any, name: str, path: str, destination: Destination | None = None) -> Destination:
    """Store a folder of this server as a destination.  Administrators only.  Invalid, NotAllowed."""
    return destination_save(
        DestinationData(kind=DestinationKind.LOCAL, name=name, config={"path": path}),
        actor=actor,
        destination=destination,
    )


def check_may_store(actor: Any, account: Account | None, kind: str) -> None:
    """Raise NotAllowed unless ``actor`` (None = the program itself) may define such a destination."""
    if actor is None or (actor.is_admin and (account is None or kind != DestinationKind.LOCAL)):
        return
    if kind == DestinationKind.LOCAL:
        raise NotAllowed("Only administrators define folders of the server as destinations.")
    if account is None or not Account.objects.visible_to(actor).filter(pk=account.pk).exists():
        raise NotAllowed("Choose one of your accounts.")
    if not account.package.custom_storage:
        raise NotAllowed("Your package has no storage of your own.")


def destination_toggle(destination: Destination, *, actor: Any) -> bool:
    """Switch a destination on or off; returns what it is now.  What runs there goes on, nothing new starts."""
    enabled = not destination.is_enabled
    Destination.objects.filter(pk=destination.pk).update(is_enabled=enabled)
    verb = "destination.enabled" if enabled else "destination.disabled"
    record(verb, actor=actor, subject=f"destination:{destination.pk}", name=destination.name)
    return enabled


def destination_remove(destination: Destination, *, actor: Any) -> None:
    """Take a destination out of the panel and destroy its secrets; nothing at the destination is deleted.

    Conflict while a schedule uses it or something runs there.
    """
    users = destination.schedules.filter(deleted_at=None)  # type: ignore[attr-defined]
    if names := [f"“{schedule.name}”" for schedule in users[:4]]:
        raise Conflict(f"{destination.name} is used by {', '.join(names)}. Choose another destination there first.")
    repositories = destination.repositories.all()  # type: ignore[attr-defined]
    leases = [repository.lease for repository in repositories]
    if Job.objects.filter(state__in=LIVE, items__lease__in=leases).exists() or test_is_running(destination):
        raise Conflict("Something is running at this destination; wait until it has ended, or stop it.")
    moment = now()
    with transaction.atomic():
        for repository in repositories:
            repository.snapshots.filter(removed_at=None).update(removed_at=moment)
        Destination.objects.filter(pk=destination.pk).update(
            removed_at=moment, is_enabled=False, sealed={}, test_report=[], test_job=None
        )
        record("destination.removed", actor=actor, subject=f"destination:{destination.pk}", name=destination.name)


def destination_test(destination: Destination, *, actor: Any, install_key: bool = False) -> Job:
    """Start a test in a worker; with ``install_key`` a key of ours is installed first.  Conflict while one runs."""
    if test_is_running(destination):
        raise Conflict("A test of this destination is running already.")
    if install_key and destination.kind != DestinationKind.SFTP:
        raise Invalid("Only SFTP servers take keys.")
    server = destination.account.server if destination.account else Server.objects.order_by("pk").first()
    if server is None:
        raise Conflict("There is no server whose worker could test it.")
    spec = {"destination": destination.pk, "install_key": install_key}
    with transaction.atomic():
        job = job_enqueue(
            JobRequest(
                kind=Kind.TEST,
                name=destination.name,
                server=server,
                subject=f"destination:{destination.pk}",
                account=destination.account,
                requested_by=actor,
                spec=spec,
                items=[ItemRequest(account=destination.account, label=destination.name, spec=spec)],
            )
        )
        Destination.objects.filter(pk=destination.pk).update(test_job=job, test_report=[], test_ok=None)
        record("destination.tested", actor=actor, subject=f"destination:{destination.pk}", name=destination.name)
    return job


def test_is_running(destination: Destination) -> bool:
    """Tell whether a test of the destination waits or runs."""
    return Job.objects.filter(pk=destination.test_job_id, state__in=LIVE).exists()


def destination_trust(destination: Destination, fingerprint: str, *, actor: Any) -> None:
    """Pin the identity that the last test saw; a changed one replaces those that were pinned before.  Conflict."""
    seen = next((step for step in destination.test_report if step.get("fingerprint")), None)
    if seen is None or not fingerprint or seen["fingerprint"] != fingerprint:
        raise Conflict("The server was tested again meanwhile; compare what it shows now.")
    name = "host_keys" if destination.kind == DestinationKind.SFTP else "pins"
    before = [] if seen.get("code") == "HF-STORE-FINGERPRINT" else list(destination.config.get(name, ()))
    config = destination.config | {name: [*before, fingerprint]}
    with transaction.atomic():
        Destination.objects.filter(pk=destination.pk).update(config=config, test_report=[], test_ok=None)
        subject = f"destination:{destination.pk}"
        record("destination.trusted", actor=actor, subject=subject, name=destination.name, fingerprint=fingerprint)
    destination.config = config


def s3_defaults_save(
    *, actor: Any, endpoint: str, region: str, access_key: str, secret_key: str | None = None
) -> S3Defaults:
    """Store the global S3 settings; without ``secret_key`` the stored one stays.  NotAllowed, Invalid."""
    if not actor.is_admin:
        raise NotAllowed("Only administrators change the global S3 settings.")
    row = S3Defaults.objects.filter(pk=1).first() or S3Defaults(pk=1)
    _storage_checked({"kind": "s3", "bucket": "example", "endpoint": endpoint, "region": region})
    if access_key != row.access_key and secret_key is None and row.sealed:
        raise FieldInvalid("Another access key needs its own secret key: type it.", "secret_key")
    with transaction.atomic():
        row.endpoint, row.region, row.access_key = endpoint, region, access_key
        if secret_key is not None:
            row.sealed = {"secret_key": sealer().seal(defaults_place(), secret_key)} if secret_key else {}
        row.save()
        record("destination.s3_defaults", actor=actor, subject="s3", endpoint=endpoint)
    return row


def receiver_host(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return host and port of a destination: what a confirmed identity belongs to."""
    return config.get("host"), config.get("port")


def _check_name(name: str, row: Destination) -> None:
    if not name.strip():
        raise FieldInvalid("Give it a name.", "name")
    if Destination.objects.present().filter(name=name).exclude(pk=row.pk).exists():
        raise FieldInvalid("Another destination has this name.", "name")


def _check_place(row: Destination, config: Mapping[str, Any]) -> None:
    if row.kind == DestinationKind.LOCAL:
        path = str(config.get("path", ""))
        if not path.startswith("/") or "\0" in path or ".." in Path(path).parts:
            raise FieldInvalid("Write a folder that begins with /.", "path")
    if not row.pk or not row.repositories.exists():  # type: ignore[attr-defined]
        return
    for name in _PLACE:
        if config.get(name, "") != row.config.get(name, ""):
            raise FieldInvalid("Backups are stored there; make another destination for another place.", name)


def _check_secrets(row: Destination, data: DestinationData, config: Mapping[str, Any]) -> None:
    names = SECRETS[data.kind]
    if unknown := set(data.secrets) - set(names):
        raise Invalid(f"This kind of destination has no {', '.join(sorted(unknown))}.")
    kept = [name for name in names if row.sealed.get(name) and name not in data.secrets]
    if kept and receiver(data.kind, config) != receiver(data.kind, row.config):
        text = "This secret was sealed for the server and user as they were: type it again."
        raise FieldInvalid(text, kept[0])
    held = {*kept, *(name for name, value in data.secrets.items() if value)}
    if data.kind == DestinationKind.SFTP and not held & {"password", "private_key"} and not config.get("agent"):
        raise FieldInvalid("Give a password or a private key.", "password")
    if data.kind == DestinationKind.S3 and bool(config.get("access_key")) != ("secret_key" in held):
        raise FieldInvalid("Access key and secret key belong together: give both, or neither.", "secret_key")
    own_endpoint = data.account is not None and data.kind == DestinationKind.S3 and config.get("endpoint")
    if own_endpoint and not config.get("access_key"):
        raise FieldInvalid("An endpoint of your own needs keys of your own.", "access_key")


def _check_config(data: DestinationData, config: Mapping[str, Any]) -> None:
    plain = {"kind": str(data.kind), **config, "read_only": data.read_only}
    plain |= {name: value for name, value in data.secrets.items() if value}
    if data.account is not None:
        if config.get("agent"):
            raise NotAllowed("The ssh agent of the server is for its administrators.")
        plain["public_only"] = True
    _storage_checked(plain)


def _storage_checked(plain: dict[str, Any]) -> None:
    try:
        from_plain(plain)
    except BadConfig as error:
        text = str(error).removeprefix("the destination's settings are not valid: ").partition(" - at ")[0]
        raise Invalid(f"{text[:1].upper()}{text[1:]}.") from error


def _sealed(row: Destination, given: Mapping[str, str | None]) -> dict[str, str]:
    kept = {name: value for name, value in row.sealed.items() if name not in given}
    closer = sealer() if any(given.values()) else None
    for name, value in given.items():
        if value and closer:
            kept[name] = closer.seal(secret_place(row.pk, name, row.kind, row.config), value)
    return kept

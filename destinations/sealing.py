"""Secrets of destinations: which there are, and what each is bound to.

A secret is sealed for the server and user it is sent to, so that a changed host never receives an old password:
the web tier can neither open what is stored nor send it elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from panel.core.sealing import Place, PublicSealer

SECRETS: dict[str, tuple[str, ...]] = {
    "local": (),
    "ftp": ("password",),
    "sftp": ("password", "private_key", "passphrase"),
    "s3": ("secret_key",),
}
"""Kind → its secrets."""


def receiver(kind: str, config: Mapping[str, Any]) -> str:
    """Return whom the secrets of a destination are for."""
    if kind == "s3":
        return f"s3 {config.get('access_key', '')}"
    scheme = "ftps" if kind == "ftp" and config.get("tls") else kind
    return f"{scheme}://{config.get('user', '')}@{config.get('host', '')}:{config.get('port', '')}"


def secret_place(destination_id: int, name: str, kind: str, config: Mapping[str, Any]) -> Place:
    """Return where one secret of a destination belongs."""
    return Place("destinations_destination", f"sealed.{name} for {receiver(kind, config)}", str(destination_id))


def defaults_place() -> Place:
    """Return where the secret key of the global S3 settings belongs."""
    return Place("destinations_s3defaults", "sealed.secret_key", "1")


def sealer() -> PublicSealer:
    """Return what closes secrets in this installation."""
    return PublicSealer.load(settings.PUBLIC_KEY_FILE)

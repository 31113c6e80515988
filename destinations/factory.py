"""From a destination's row to the configuration that opens it.  For workers only: it opens sealed secrets."""

from __future__ import annotations

from typing import Any

from destinations.models import Destination, S3Defaults
from destinations.sealing import SECRETS, defaults_place, secret_place
from panel.core.sealing import MasterKey
from panel.options.selectors import option


def plain_config(destination: Destination, key: MasterKey) -> dict[str, Any]:
    """Return the whole configuration, secrets included.  SealError if a secret was made for another server."""
    config = dict(destination.config)
    for name in SECRETS[destination.kind]:
        if sealed := destination.sealed.get(name):
            config[name] = key.open(secret_place(destination.pk, name, destination.kind, destination.config), sealed)
    if destination.kind == "s3":
        config |= _global_s3(config, key)
    if destination.account_id is not None:
        config |= {"public_only": True, "allowed_networks": allowed_networks()}
        config.pop("agent", None)
    return {"kind": destination.kind, **config, "read_only": destination.read_only}


def allowed_networks() -> list[str]:
    """Return the private networks that customers' destinations may reach."""
    return [word for word in str(option("custom_networks")).replace(",", " ").split() if word]


def _global_s3(config: dict[str, Any], key: MasterKey) -> dict[str, Any]:
    """Return the global settings for the fields that are empty; the keys come as a pair."""
    row = S3Defaults.objects.filter(pk=1).first()
    if row is None:
        return {}
    found = {name: getattr(row, name) for name in ("endpoint", "region") if not config.get(name)}
    if not config.get("access_key"):
        found["access_key"] = row.access_key
        if sealed := row.sealed.get("secret_key"):
            found["secret_key"] = key.open(defaults_place(), sealed)
    return found

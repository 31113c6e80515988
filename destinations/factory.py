"""From a destination's row to the configuration that opens it.  For workers only: it opens sealed secrets."""

from __future__ import annotations

import json
from typing import Any

from destinations.models import Destination
from panel.core.sealing import MasterKey, Place


def secrets_place(destination_id: int) -> Place:
    """Return where a destination's secrets belong."""
    return Place("destinations_destination", "sealed", str(destination_id))


def plain_config(destination: Destination, key: MasterKey) -> dict[str, Any]:
    """Return the whole configuration, secrets included."""
    secrets: dict[str, Any] = {}
    if destination.sealed:
        secrets = json.loads(key.open(secrets_place(destination.pk), destination.sealed))
    return {"kind": destination.kind, **destination.config, **secrets, "read_only": destination.read_only}

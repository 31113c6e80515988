"""Making and changing destinations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.db import transaction

from destinations.models import Destination, DestinationKind
from panel.audit.services import record
from panel.core.errors import Conflict, Invalid, NotAllowed


def local_destination_save(
    *, actor: Any, name: str, path: str, destination: Destination | None = None, is_enabled: bool = True
) -> Destination:
    """Store a folder of this server as a destination.  Administrators only.  Invalid, NotAllowed."""
    if actor is not None and not actor.is_admin:
        raise NotAllowed("Only administrators define folders of the server as destinations.")
    if not path.startswith("/") or "\0" in path or ".." in Path(path).parts:
        raise Invalid("Write a folder that begins with /.")
    row = destination or Destination(kind=DestinationKind.LOCAL)
    if destination is not None and destination.repositories.exists() and destination.config.get("path") != path:
        raise Conflict("This destination holds repositories; make another destination for another folder.")
    with transaction.atomic():
        if row.config.get("path") != path:
            row.tested_at = row.test_ok = None
        row.name, row.config, row.is_enabled = name, {"path": path}, is_enabled
        row.save()
        record("destination.saved", actor=actor, subject=f"destination:{row.pk}", name=name, kind=row.kind)
    return row

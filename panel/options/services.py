"""Changing settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from panel.audit.services import record
from panel.core.errors import Invalid
from panel.options.models import Option
from panel.options.registry import Value
from panel.options.selectors import group


def save_group(name: str, given: Mapping[str, str], *, actor: Any) -> dict[str, str]:
    """Store the values a form gave for a page.  Returns the errors by key; with any, nothing is stored."""
    changes: dict[str, tuple[Value, Value]] = {}
    errors: dict[str, str] = {}
    for setting, old in group(name):
        try:
            new = setting.parse(given.get(setting.key, ""))
        except Invalid as error:
            errors[setting.key] = str(error)
            continue
        if new != old:
            changes[setting.key] = (old, new)
    if errors:
        return errors
    with transaction.atomic():
        for key, (old, new) in changes.items():
            Option.objects.update_or_create(key=key, defaults={"value": new})
            record("settings.changed", actor=actor, subject=key, old=old, new=new)
    return {}

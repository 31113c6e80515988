"""Changing settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction

from panel.audit.services import record
from panel.core.errors import Invalid, PanelError
from panel.core.sealing import PublicSealer
from panel.options.models import Option
from panel.options.places import option_place
from panel.options.selectors import group
from panel.options.setting import Setting, Value


def save_group(name: str, given: Mapping[str, str], *, actor: Any) -> dict[str, str]:
    """Store the values a form gave for a page.  Returns the errors by key; with any, nothing is stored.

    A secret that is left empty stays as it is; ``<key>-clear`` removes it.
    """
    changes: dict[str, tuple[Value, Value]] = {}
    errors: dict[str, str] = {}
    for setting, old in group(name):
        try:
            new = _secret(setting, given, old) if setting.secret else setting.parse(given.get(setting.key, ""))
        except PanelError as error:
            errors[setting.key] = str(error)
            continue
        if new != old:
            changes[setting.key] = (old, new)
    if errors:
        return errors
    with transaction.atomic():
        for setting, _ in group(name):
            if setting.key in changes:
                _store(setting, *changes[setting.key], actor)
    return {}


def _store(setting: Setting, old: Value, new: Value, actor: Any) -> None:
    if new == setting.default:
        Option.objects.filter(key=setting.key).delete()
    else:
        Option.objects.update_or_create(key=setting.key, defaults={"value": new})
    if setting.secret:
        record("settings.changed", actor=actor, subject=setting.key, old=setting.words(old), new=setting.words(new))
    else:
        record("settings.changed", actor=actor, subject=setting.key, old=old, new=new)


def _secret(setting: Setting, given: Mapping[str, str], old: Value) -> Value:
    text = given.get(setting.key, "")
    if given.get(f"{setting.key}-clear"):
        return ""
    if not text:
        return old
    if len(text) > 1000:
        raise Invalid("This is too long.")
    return PublicSealer.load(settings.PUBLIC_KEY_FILE).seal(option_place(setting.key), text)

"""Reading settings."""

from __future__ import annotations

from panel.options.models import Option
from panel.options.registry import GROUPS, SETTINGS, Setting, Value


def option(key: str) -> Value:
    """Return the present value of a setting."""
    setting = SETTINGS[key]
    row = Option.objects.filter(key=key).values_list("value", flat=True).first()
    return setting.default if row is None else row  # type: ignore[no-any-return]


def number(key: str) -> int:
    """Return the present value of a number."""
    return int(option(key))


def options(*keys: str) -> dict[str, Value]:
    """Return several settings with one query."""
    stored = dict(Option.objects.filter(key__in=keys).values_list("key", "value"))
    return {key: stored.get(key, SETTINGS[key].default) for key in keys}


def group(name: str) -> list[tuple[Setting, Value]]:
    """Return the settings of a page with their values; KeyError for no such page."""
    if name not in GROUPS:
        raise KeyError(name)
    members = [setting for setting in SETTINGS.values() if setting.group == name]
    values = options(*[setting.key for setting in members])
    return [(setting, values[setting.key]) for setting in members]

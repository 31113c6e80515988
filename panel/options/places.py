"""Where the secrets among the settings are bound to."""

from __future__ import annotations

from panel.core.sealing import Place


def option_place(key: str) -> Place:
    """Return the place of a secret setting; worker and page agree on it."""
    return Place("options_option", "value", key)

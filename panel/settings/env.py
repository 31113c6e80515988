"""Typed readers of environment variables.  A wrong value stops the start with a sentence that names it.

Every secret ``NAME`` may be given as ``NAME_FILE``, the path of a file that holds it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

PREFIX = "HOLDFAST_"
_OTHERS = (PREFIX + "ENGINE_",)
_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))


def require(condition: object, sentence: str) -> None:
    """Stop the start with a sentence unless a condition holds."""
    if not condition:
        raise ImproperlyConfigured(sentence)


class Env:
    """Reads variables that begin with ``HOLDFAST_`` from a mapping; ImproperlyConfigured for wrong values."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables
        self._known: set[str] = set()

    def unknown(self) -> list[str]:
        """Return the names of variables with our prefix that nothing has read."""
        mine = (name for name in self._variables if name.startswith(PREFIX) and not name.startswith(_OTHERS))
        return sorted(name for name in mine if name.removeprefix(PREFIX) not in self._known)

    def text(self, name: str, default: str = "") -> str:
        """Return a text; an empty variable counts as not set."""
        self._known.add(name)
        return self._variables.get(PREFIX + name, "").strip() or default

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a yes or no."""
        value = self.text(name).lower()
        if not value:
            return default
        if value in _TRUE | _FALSE:
            return value in _TRUE
        raise ImproperlyConfigured(f"{PREFIX}{name} is {value!r}; write yes or no.")

    def number(self, name: str, default: int, *, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``."""
        value = self.text(name)
        try:
            number = int(value or default)
        except ValueError:
            raise ImproperlyConfigured(f"{PREFIX}{name} is {value!r}; write a whole number.") from None
        if not low <= number <= high:
            raise ImproperlyConfigured(f"{PREFIX}{name} is {number}; it must be from {low} to {high}.")
        return number

    def choice(self, name: str, default: str, options: Iterable[str]) -> str:
        """Return one of ``options``."""
        value = self.text(name, default)
        allowed = sorted(options)
        if value not in allowed:
            raise ImproperlyConfigured(f"{PREFIX}{name} is {value!r}; choose one of: {', '.join(allowed)}.")
        return value

    def label(self, name: str, default: str) -> str:
        """Return a short name of letters, digits, dots, hyphens and underscores."""
        value = self.text(name, default)
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,80}", value):
            raise ImproperlyConfigured(f"{PREFIX}{name} is {value!r}; use letters, digits, dots and hyphens.")
        return value

    def path(self, name: str, default: Path) -> Path:
        """Return an absolute path."""
        path = Path(self.text(name) or default)
        if not path.is_absolute():
            raise ImproperlyConfigured(f"{PREFIX}{name} is {str(path)!r}; write a path that begins with /.")
        return path

    def url(self, value: str, name: str, schemes: Iterable[str]) -> str:
        """Return an address that begins with one of the schemes; ``name`` is the variable it came from."""
        allowed = [f"{scheme}://" for scheme in schemes]
        if not value.startswith(tuple(allowed)):
            raise ImproperlyConfigured(f"{PREFIX}{name} must begin with one of: {', '.join(allowed)}")
        return value

    def words(self, name: str, default: Iterable[str] = ()) -> list[str]:
        """Return the parts of a list separated by commas."""
        value = self.text(name)
        return [part.strip() for part in value.split(",") if part.strip()] if value else list(default)

    def secret(self, name: str, default: str = "") -> str:
        """Return a secret, from the variable itself or from the file that ``NAME_FILE`` names."""
        file, given = self.text(name + "_FILE"), self.text(name)
        if not file:
            return given or default
        if given:
            raise ImproperlyConfigured(f"Both {PREFIX}{name} and {PREFIX}{name}_FILE are set; keep one of them.")
        try:
            found = Path(file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", "it is no text")
            raise ImproperlyConfigured(f"{PREFIX}{name}_FILE names {file}, which cannot be read: {why}.") from None
        if not found:
            raise ImproperlyConfigured(f"{PREFIX}{name}_FILE names {file}, which is empty.")
        return found

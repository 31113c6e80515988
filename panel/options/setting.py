"""What one setting is: its type, default, limits and words, and how text from a form becomes its value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from panel.core.errors import Invalid

Value = int | bool | str


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.  ``default`` gives the type; ``choices`` are pairs of value and label.

    ``check`` returns a text in its proper form, or raises Invalid.  A ``secret`` is stored sealed and never shown;
    ``lines`` makes a text several lines high.
    """

    key: str
    group: str
    label: str
    default: Value
    help: str = ""
    unit: str = ""
    low: int = 0
    high: int = 1_000_000
    choices: tuple[tuple[str, str], ...] = ()
    check: Callable[[str], str] | None = None
    secret: bool = False
    lines: int = 1

    @property
    def widget(self) -> Literal["switch", "number", "choice", "text", "secret"]:
        """Return the kind of field."""
        if self.secret:
            return "secret"
        if self.choices:
            return "choice"
        if isinstance(self.default, bool):
            return "switch"
        return "number" if isinstance(self.default, int) else "text"

    @property
    def limits(self) -> str:
        """Return what a number may be, in words; nothing for other kinds."""
        return f"{self.low:,} to {self.high:,}" if self.widget == "number" else ""

    def words(self, value: Value) -> str:
        """Return a value as people read it."""
        if self.secret:
            return "set" if value else "not set"
        if isinstance(value, bool):
            return "on" if value else "off"
        if self.choices:
            return dict(self.choices).get(str(value), str(value))
        return f"{value} {self.unit}".strip() or "empty"

    def parse(self, text: str) -> Value:
        """Return the value that a form gave; Invalid with a sentence for the person."""
        if self.widget == "switch":
            return text in ("on", "true", "1", "yes")
        if self.widget == "number":
            return self._number(text)
        plain = text.strip()
        if self.choices and plain not in dict(self.choices):
            raise Invalid("Choose one of the list.")
        if len(plain) > 4000 or "\0" in plain:
            raise Invalid("This is too long.")
        return self.check(plain) if self.check and plain else plain

    def _number(self, text: str) -> int:
        try:
            number = int(text.strip().replace(",", ""))
        except ValueError:
            raise Invalid("Write a whole number.") from None
        if number < self.low:
            raise Invalid(f"Smallest value is {self.low:,}.")
        if number > self.high:
            raise Invalid(f"Largest value is {self.high:,}.")
        return number

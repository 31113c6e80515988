"""Every setting of the panel: its type, default, limits and words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from panel.core.errors import Invalid

Value = int | bool | str


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.  ``default`` gives the type; ``choices`` are pairs of value and label."""

    key: str
    group: str
    label: str
    default: Value
    help: str = ""
    unit: str = ""
    low: int = 0
    high: int = 1_000_000
    choices: tuple[tuple[str, str], ...] = ()

    @property
    def widget(self) -> Literal["switch", "number", "choice", "text"]:
        """Return the kind of field."""
        if self.choices:
            return "choice"
        if isinstance(self.default, bool):
            return "switch"
        return "number" if isinstance(self.default, int) else "text"

    def parse(self, text: str) -> Value:
        """Return the value that a form gave; Invalid with a sentence for the person."""
        if self.widget == "switch":
            return text in ("on", "true", "1", "yes")
        if self.widget == "number":
            try:
                number = int(text)
            except ValueError:
                raise Invalid("Write a whole number.") from None
            if number < self.low:
                raise Invalid(f"Smallest value is {self.low}.")
            if number > self.high:
                raise Invalid(f"Largest value is {self.high}.")
            return number
        if self.choices and text not in dict(self.choices):
            raise Invalid("Choose one of the list.")
        return text.strip()


GROUPS = {
    "general": "General",
    "backup": "Backup",
    "performance": "Performance",
    "restore": "Restore",
}
SETTINGS = {
    setting.key: setting
    for setting in (
        Setting(
            "time_format",
            "general",
            "Time format",
            "12",
            "Display only.",
            choices=(("12", "12 hours (3:00 PM)"), ("24", "24 hours (15:00)")),
        ),
        Setting("host_name", "general", "Name of the host", "", "Shown to customers at the foot of the menu."),
        Setting(
            "history_days",
            "general",
            "Days to keep history",
            30,
            "“Delete old entries” removes finished jobs older than this.",
            "days",
            1,
            3650,
        ),
        Setting("download_days", "general", "Days to keep downloads", 7, "0 = for ever.", "days", 0, 3650),
        Setting(
            "backup_enabled",
            "backup",
            "Backups are switched on",
            True,
            "Off: no schedule starts by itself, and every page says so. Run now still works.",
        ),
        Setting(
            "default_retention", "backup", "Snapshots to keep", 7, "Filled in for new schedules.", "snapshots", 1, 10000
        ),
        Setting("pause_queue", "performance", "Pause starting", False, "Nothing new starts; what runs goes on."),
        Setting(
            "slots_backup",
            "performance",
            "Backups",
            2,
            "Accounts that are backed up at one time. Each may use a whole core.",
            "accounts",
            1,
            10,
        ),
        Setting(
            "slots_restore",
            "performance",
            "Restores, downloads and reindexes",
            2,
            "They go first: a restore never waits for a backup slot.",
            "accounts",
            1,
            10,
        ),
        Setting("slots_system", "performance", "System tasks", 1, "Cleanup and integrity checks.", "accounts", 1, 10),
        Setting(
            "backup_hours",
            "performance",
            "Stop a backup that runs longer than",
            0,
            "0 = never. Too low a value stops large accounts early.",
            "hours",
            0,
            1000,
        ),
        Setting(
            "safety_snapshot",
            "restore",
            "Take a safety snapshot before a restore",
            True,
            "The preset of every restore in place; it makes Undo possible.",
        ),
        Setting(
            "safety_days",
            "restore",
            "Days to keep safety snapshots",
            14,
            "Undo is possible as long as they are there.",
            "days",
            1,
            365,
        ),
    )
}

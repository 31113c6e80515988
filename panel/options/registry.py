"""Every setting of the panel: its type, default, limits and words."""

from __future__ import annotations

from panel.options.people import PEOPLE
from panel.options.setting import Setting, Value
from panel.options.upkeep import UPKEEP

__all__ = ["GROUPS", "SETTINGS", "Setting", "Value"]

GROUPS = {
    "general": "General",
    "backup": "Backup",
    "performance": "Performance",
    "restore": "Restore",
    "upkeep": "Cleanup and checks",
    "security": "Signing in",
    "mail": "Mail",
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
        Setting(
            "downloads_kept",
            "performance",
            "Downloads to keep for each account",
            10,
            "Older finished ones are removed. 0 = no limit.",
            "downloads",
            0,
            1000,
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
        Setting(
            "custom_networks",
            "backup",
            "Private networks that customers' storage may reach",
            "",
            "Such as 10.20.0.0/16, separated by blanks. Empty: customers reach public addresses only.",
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
        Setting(
            "lock_home",
            "restore",
            "Lock an account's home while files come back into it",
            True,
            "On: nobody enters the home until a restore in place has ended; then its permissions are back. Off: only "
            "files that come back are hidden until they are whole. Large restores lock long: off, if sites suffer.",
        ),
        Setting(
            "restore_limit_times",
            "restore",
            "Restores that an account may start",
            0,
            "Within the hours below. 0 in either of the two = no limit. An undo or a download never counts.",
            "restores",
            0,
            1000,
        ),
        Setting(
            "restore_limit_hours", "restore", "Within", 0, "The period that restores are counted in.", "hours", 0, 8760
        ),
        *UPKEEP,
        *PEOPLE,
    )
}

"""Settings of cleanup, integrity checks, and the room that must stay free."""

from __future__ import annotations

from panel.options.setting import Setting

UPKEEP = (
    Setting(
        "cleanup_enabled",
        "upkeep",
        "Clean up every day",
        True,
        "Removes what retention or somebody marked, and frees its space. Backups of that repository wait meanwhile.",
    ),
    Setting(
        "hold_days",
        "upkeep",
        "Days from the mark to the removal",
        3,
        "Until then, whatever was marked can be brought back.",
        "days",
        0,
        365,
    ),
    Setting(
        "integrity_days",
        "upkeep",
        "Check every repository every",
        7,
        "0 = never by itself. A check that ran out of time goes on the next day.",
        "days",
        0,
        90,
    ),
    Setting(
        "integrity_minutes",
        "upkeep",
        "Time for reading stored data",
        30,
        "For each check of a repository; the next one goes on where it stopped. 0 = look at the structure only.",
        "minutes",
        0,
        1440,
    ),
    Setting(
        "upkeep_hour",
        "upkeep",
        "Not before (hour, UTC)",
        4,
        "Missed because the server was off: done later.",
        "",
        0,
        23,
    ),
    Setting(
        "free_percent",
        "upkeep",
        "Keep free on local destinations",
        5,
        "A backup to a fuller disk does not start, and says so. 0 = do not look.",
        "%",
        0,
        50,
    ),
)

"""Two users: the web process gets one of its own, with what it needs and without the keys."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

from django.conf import settings

WEB_USER = "holdfast-web"
_NOBODYS = (61340, 61340)
"""Numbers that no system gives to anybody."""


def web_user() -> tuple[int, int] | None:
    """Return the ids the web process gets when the panel is started as root; None to stay as we are.

    Those of the user ``holdfast-web`` if there is one, else numbers that nobody else uses.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(WEB_USER)
    except KeyError:
        return _NOBODYS
    return (entry.pw_uid, entry.pw_gid)


def can_read(user: tuple[int, int], path: Path) -> bool:
    """Tell whether a user can start this Python and read a file, tried by a process of theirs."""
    try:
        result = subprocess.run(
            [sys.executable, "-c", "import sys, django; open(sys.argv[1]).close()", str(path)],
            user=user[0], group=user[1], extra_groups=[], capture_output=True, check=False,
        )  # fmt: skip
    except OSError:
        return False
    return result.returncode == 0


def hand_over(web: tuple[int, int]) -> None:
    """Give the web process's user the database file, the finished downloads, and the way to the broker's socket."""
    data = settings.DATA_DIR
    files = (data / "db").iterdir() if (data / "db").is_dir() else ()
    for path in (data / "db", *files, data / "secret_key", settings.DOWNLOADS_DIR):
        if path.exists():
            os.chown(path, web[0], web[1], follow_symlinks=False)
    os.chown(data / "run", 0, web[1])
    (data / "run").chmod(0o2770)

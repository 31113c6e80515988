"""What an account's home is like just before a backup: empty, or on another disk than the time before?

A mount point whose disk is not there is a folder like any other, and a backup of it a success with nothing in it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from backups.engine import NothingToSave
from backups.models import Snapshot
from backups.session.homes import open_home
from panel.accounts.models import Account

CODE = "HF-HOME-EMPTY"
GUIDANCE = (
    "Look whether the disk of the home is mounted, then run the backup again. This restore point does not count: the "
    "ones before stay. If the home was emptied on purpose, put one file into it."
)
_OF_THE_DISK = frozenset((b"lost+found",))


@dataclass(frozen=True, slots=True)
class HomeNow:
    """Whether a home is an empty folder, and where the disk that it lies on is mounted (empty = not known)."""

    is_empty: bool = False
    mount: str = ""


def home_now(account: Account) -> HomeNow:
    """Look at an account's home.  One that is not there is not this module's business: the backup itself fails."""
    try:
        fd = open_home(os.fsencode(account.home), [account.system_uid or 0, 0] if account.system_uid else ())
    except NothingToSave:
        return HomeNow()
    try:
        held = f"/proc/self/fd/{fd}".encode()
        with os.scandir(held) as found:
            empty = all(item.name in _OF_THE_DISK for item in found)
        return HomeNow(empty, _mount(fd))
    except OSError:
        return HomeNow()
    finally:
        os.close(fd)


def why_hollow(now: HomeNow, files: int, parent: Snapshot | None) -> str:
    """Return what is wrong with a backup of so many files, or nothing.

    Empty homes that had content in the backup before, and homes that lost most of their files and lie on another disk
    than before: one of the two alone is what people do.
    """
    if parent is None or "web" not in parent.components or files >= parent.files:
        return ""
    before = f"the backup before held {parent.files:,} files"
    if now.is_empty:
        return f"The home folder is empty, and {before}."
    if parent.mount and now.mount and now.mount != parent.mount and files < parent.files // 2:
        return f"The home lay on the disk mounted at {parent.mount}, and now on {now.mount} with few files; {before}."
    return ""


def _mount(fd: int) -> str:
    """Return where the disk of an open folder is mounted."""
    info = Path(f"/proc/self/fdinfo/{fd}").read_text()
    number = next((line.split()[1] for line in info.splitlines() if line.startswith("mnt_id:")), "")
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if fields[0] == number:
            return fields[4].encode("utf-8", "replace").decode()[:500]
    return ""

"""Where an account's home lies: a folder, or a link to one that nobody but an administrator can have made."""

from __future__ import annotations

import os
import stat

from backups.engine.errors import NothingToSave

_OTHERS_WRITE = 0o022


def real_home(path: bytes) -> bytes:
    """Return the folder that ``path`` is, or leads to.  NothingToSave if it is not there, or a link we do not trust.

    A backup of what is not there would look like one, and push the good ones out.  A link is followed where its owner
    and the owner of its folder are this process's user or root, and nobody else may write there: a customer who could
    put one in the home's place would read and write with our rights wherever it leads.
    """
    try:
        info = os.lstat(path)
    except OSError as error:
        raise NothingToSave(
            f"the account's home folder is not there ({error.strerror}): is its disk mounted?"
        ) from None
    if stat.S_ISLNK(info.st_mode) and _is_ours(path, info):
        path = os.path.realpath(path)
        if not os.path.isdir(path):  # noqa: PTH112 - bytes
            raise NothingToSave("the account's home is a link to a folder that is not there: is its disk mounted?")
    elif not stat.S_ISDIR(info.st_mode):
        raise NothingToSave("the account's home is no folder, or a link that others than the administrator can change")
    return path


def _is_ours(path: bytes, link: os.stat_result) -> bool:
    parent = os.stat(os.path.dirname(path))  # noqa: PTH116, PTH120 - bytes
    trusted = {0, os.geteuid()}
    return link.st_uid in trusted and parent.st_uid in trusted and not parent.st_mode & _OTHERS_WRITE

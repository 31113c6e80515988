"""Where an account's home lies: a folder, or a link to one that nobody but an administrator can have made."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from backups.engine.errors import NothingToSave

_OTHERS_WRITE = 0o022
_MOST_LINKS = 40
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ANYTHING = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_HELD = b"/proc/self/fd"


def real_home(path: bytes, owners: Iterable[int] = ()) -> bytes:
    """Return a path that leads to the home folder at ``path`` for as long as this process lives, whatever happens to
    its name.  NothingToSave if it is not there, or somebody else decides where it leads.

    A backup of what is not there would look like one, and push the good ones out.  Every link on the way is followed
    only where its owner and the owner of its folder are this process's user or root, and nobody else may write there:
    a customer who could put one there, also above a home that lies inside his own, would read and write with our
    rights wherever it leads.  A home below a folder that a customer can change must belong to one of ``owners``, if
    they are known: another folder of his may stand in its place.
    """
    fd = open_home(path, owners)
    if not os.access(_HELD, os.R_OK):
        os.close(fd)
        return os.path.realpath(path)
    return b"%b/%d/." % (_HELD, fd)


def open_home(path: bytes, owners: Iterable[int] = ()) -> int:
    """Return a descriptor of the home folder at ``path``, which only identifies it.  NothingToSave."""
    try:
        return _opened(path, frozenset(owners))
    except OSError as error:
        raise NothingToSave(
            f"the account's home folder is not there ({error.strerror}): is its disk mounted?"
        ) from None


def _opened(path: bytes, owners: frozenset[int]) -> int:
    """Open a folder by one component after the other.  OSError, NothingToSave."""
    here, links, shared = os.open(b"/", _ANYTHING), 0, False
    waiting = _parts(path)
    try:
        while waiting:
            above = os.fstat(here)
            shared = shared or not _is_trusted(above, owners)
            below = _step(here, waiting.pop(0))
            info = os.fstat(below)
            if stat.S_ISLNK(info.st_mode):
                links += 1
                target = _target(below, info, above, links)
                os.close(below)
                waiting = _parts(target) + waiting
                if target.startswith(b"/"):
                    os.close(here)
                    here, shared = os.open(b"/", _ANYTHING), False
                continue
            os.close(here)
            here = below
            if not stat.S_ISDIR(info.st_mode):
                raise NothingToSave("the account's home is no folder")
        if shared and owners and os.fstat(here).st_uid not in owners:
            raise NothingToSave("the account's home lies in a folder of another account, and is not its own folder")
    except BaseException:
        os.close(here)
        raise
    return here


def _step(folder: int, name: bytes) -> int:
    """Open what has a name.  A folder is really opened where we may: that is what mounts a home that mounts itself."""
    with suppress(OSError):
        return os.open(name, _FOLDER, dir_fd=folder)
    return os.open(name, _ANYTHING, dir_fd=folder)


def _parts(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def _target(link: int, info: os.stat_result, above: os.stat_result, links: int) -> bytes:
    """Return where an open link points, if we may follow it."""
    trusted = {0, os.geteuid()}
    if info.st_uid not in trusted or above.st_uid not in trusted or above.st_mode & _OTHERS_WRITE:
        raise NothingToSave("the account's home is behind a link that others than the administrator can change")
    if links > _MOST_LINKS:
        raise NothingToSave("the account's home is behind links that lead in a circle")
    return os.readlink(b"", dir_fd=link)


def _is_trusted(folder: os.stat_result, owners: frozenset[int]) -> bool:
    """Tell whether nobody but us and the account can put another folder into this one."""
    if folder.st_uid not in owners | {0, os.geteuid()}:
        return False
    return not folder.st_mode & _OTHERS_WRITE or bool(folder.st_mode & stat.S_ISVTX)

"""The lock on an account's home while files come back into it (RST-13): nobody enters it, and it always opens again.

The permissions are noted in a row before they are taken away.  Whoever ends the work puts them back; after a kill that
is the next worker of the server.
"""

from __future__ import annotations

import logging
import os
import stat
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from backups.engine import NothingToSave
from backups.session.homes import open_home
from panel.accounts.models import Account
from panel.options.selectors import option
from restores.models import HomeLock
from worker import doorbell
from worker.models import Attempt, JobItem

_log = logging.getLogger(__name__)
_BITS = 0o7777
_OWNER_WRITES = stat.S_IWUSR | stat.S_IXUSR


class StaysOpen(Exception):
    """The home is not locked; the text says why."""


def home_lock(account: Account, item: JobItem) -> bool:
    """Take away all permissions of an account's home, and tell whether its owner could write in it before.

    A home that is locked already stays so.  StaysOpen if it shall not or cannot be locked; NothingToSave if it is not
    there.
    """
    if not option("lock_home"):
        raise StaysOpen("")
    _check_may_lock(account)
    fd = open_home(os.fsencode(account.home), [account.system_uid or 0, 0])
    try:
        info = os.fstat(fd)
        if info.st_uid != account.system_uid:
            raise StaysOpen("it does not belong to the account's own user")
        mode = info.st_mode & _BITS
        if mode:
            place = {"path": account.home, "device": info.st_dev, "inode": info.st_ino, "mode": mode}
            lock, _ = HomeLock.objects.update_or_create(account=account, defaults={"item": item, **place})
            _held(fd).chmod(0)
            return lock.mode & _OWNER_WRITES == _OWNER_WRITES
    finally:
        os.close(fd)
    lock = HomeLock.objects.filter(account=account).first()
    if lock is None:
        raise StaysOpen("nobody may enter it anyway")
    HomeLock.objects.filter(pk=lock.pk).update(item=item)
    return lock.mode & _OWNER_WRITES == _OWNER_WRITES


def home_unlock(account: Account) -> bool:
    """Give an account's home its permissions back; False if it was not locked, or its folder is not there now.

    Permissions that it got meanwhile, from the snapshot for one, stay.
    """
    lock = HomeLock.objects.filter(account=account).first()
    if lock is None:
        return False
    try:
        fd = open_home(os.fsencode(lock.path), [account.system_uid or 0, 0])
    except NothingToSave:
        return False
    try:
        info = os.fstat(fd)
        same = (info.st_dev, info.st_ino) == (lock.device, int(lock.inode))
        if same and not info.st_mode & _BITS:
            _held(fd).chmod(lock.mode)
    finally:
        os.close(fd)
    lock.delete()
    return True


def homes_tidy(queue: str) -> None:
    """Give homes their permissions back whose work on the servers of a queue was killed."""
    for lock in _left().filter(account__server__queue=queue).select_related("account"):
        if home_unlock(lock.account):
            _log.warning("the home of account %s was left locked, and is open again", lock.account)


def homes_tick(moment: datetime) -> None:
    """Ring at workers that have homes to open."""
    for queue in set(_left().values_list("account__server__queue", flat=True)):
        doorbell.ring(queue)


def _held(fd: int) -> Path:
    """Return a path of what a descriptor only identifies."""
    return Path(f"/proc/self/fd/{fd}")


def _left() -> QuerySet[HomeLock]:
    """Return the locks that no work holds."""
    running = Attempt.objects.filter(item=OuterRef("item"), outcome=Attempt.Outcome.RUNNING)
    return HomeLock.objects.filter(~Exists(running))


def _check_may_lock(account: Account) -> None:
    if os.geteuid() != 0:
        raise StaysOpen("locking it needs a worker that is root")
    if not account.system_uid:
        raise StaysOpen("the account has no user of its own")
    home = account.home.rstrip("/") + "/"
    if settings.DATA_DIR and f"{settings.DATA_DIR}/".startswith(home):
        raise StaysOpen("the panel itself lies in it")
    others = Account.objects.filter(server=account.server).living().exclude(pk=account.pk)
    if others.filter(home__startswith=home).exists() or others.filter(home=account.home).exists():
        raise StaysOpen("another account's home lies in it")

"""Owner, attributes, times and mode of an item that is held by a descriptor, in the order that keeps them all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from errno import ENODATA, ENOTSUP

from backups.engine import Entry, TargetProblem
from restores.targets.policy import Policy

_ACCESS_LIST = b"system.posix_acl_access"
_DEFAULT_LIST = b"system.posix_acl_default"
_KEPT = (b"security.selinux", b"security.ima", b"security.evm")
"""Labels the system gives by itself; they are set where recorded, and never taken away."""


Give = Callable[[int, int, int], None]
"""Asks somebody with more rights to give an open item an owner and a group."""


class Metadata:
    """Applies a policy's share of an entry to open items.

    An ordinary user's lack of rights is no failure: what he may not set is left out, as every restore program does.
    """

    def __init__(self, policy: Policy, give: Give | None = None) -> None:
        self.policy = policy
        self.give = give
        self.uid = os.geteuid()
        self._tolerated: tuple[type[OSError], ...] = (PermissionError,) if self.uid else ()

    def apply(self, fd: int, entry: Entry, owner: tuple[int, int], *, clean: bool = False) -> TargetProblem | None:
        """Give an open file or folder its metadata.

        ``owner`` is whose it is now; ``clean`` says that it can have no extended attribute yet.  Returns what to
        tell if only attributes could not be set, and everything else was.  Raises OSError.
        """
        wanted = self.policy.owner(entry)
        if wanted != owner:
            with suppress(*self._tolerated):
                os.fchown(fd, *wanted)
        failed = None if clean and not entry.xattrs else self._set_attributes(fd, entry, clean=clean)
        os.utime(fd, ns=_times(entry))
        os.fchmod(fd, self.policy.mode(entry))
        if self.give is not None and wanted != owner:
            self.give(fd, *wanted)
        return _lacking(failed)

    def apply_by_path(self, fd: int, entry: Entry, have: os.stat_result) -> TargetProblem | None:
        """The same for an item that only an O_PATH descriptor holds: a link, device or pipe."""
        path = f"/proc/self/fd/{fd}"
        wanted = self.policy.owner(entry)
        if wanted != (have.st_uid, have.st_gid):
            with suppress(*self._tolerated):
                os.chown(path, *wanted)
        failed = self._set_attributes(path, entry, clean=True) if entry.xattrs else None
        os.utime(path, ns=_times(entry))
        if not stat.S_ISLNK(have.st_mode):
            os.chmod(path, self.policy.mode(entry))
        return _lacking(failed)

    def at(self, place: bytes) -> Metadata:
        """Return the same for the items of a folder."""
        return Metadata(self.policy.at(place), self.give) if self.policy.rules else self

    def of_itself(self) -> Metadata:
        """Return the same for that folder."""
        return Metadata(self.policy.of_itself(), self.give) if self.policy.rules else self

    def is_equal(self, fd: int, entry: Entry, have: os.stat_result) -> bool:
        """Tell whether an open item has this metadata already, as far as this process could set it."""
        if have.st_mtime_ns != entry.mtime or have.st_mode & 0o7777 != self.policy.mode(entry):
            return False
        if not self.uid and (have.st_uid, have.st_gid) != self.policy.owner(entry):
            return False
        wanted = dict(self.policy.attributes_of(entry))
        return wanted == {name: value for name, value in self._attributes(fd) if name in wanted or name not in _KEPT}

    def inherits(self, folder: int) -> bool:
        """Tell whether new items get an access list from the folder they are made in."""
        with suppress(OSError):
            return _DEFAULT_LIST in self._names(folder)
        return False

    def _set_attributes(self, item: int | str, entry: Entry, *, clean: bool) -> OSError | None:
        """Set what is recorded, remove what is not; return the first failure."""
        wanted = dict(self.policy.attributes_of(entry))
        have = {} if clean else dict(self._attributes(item))
        failed: OSError | None = None
        for name in have.keys() - wanted.keys() - set(_KEPT):
            failed = self._tried(os.removexattr, item, name) or failed
        for name, value in wanted.items():
            if have.get(name) != value:
                failed = self._tried(os.setxattr, item, name, value) or failed
        return failed

    def _tried(self, call: Callable[..., None], *args: object) -> OSError | None:
        try:
            call(*args)
        except self._tolerated:
            return None
        except OSError as error:
            return None if error.errno == ENODATA else error
        return None

    def _attributes(self, item: int | str) -> list[tuple[bytes, bytes]]:
        found = []
        for name in self._names(item):
            if self.policy.allows_attribute(name):
                with suppress(OSError):
                    found.append((name, os.getxattr(item, name)))
        return found

    @staticmethod
    def _names(item: int | str) -> list[bytes]:
        try:
            return [os.fsencode(name) for name in os.listxattr(item)]
        except OSError as error:
            if error.errno == ENOTSUP:
                return []
            raise


def _lacking(failed: OSError | None) -> TargetProblem | None:
    if failed is None:
        return None
    return TargetProblem(f"restored, but without all its attributes: {failed.strerror}")


def _times(entry: Entry) -> tuple[int, int]:
    return entry.mtime if entry.atime is None else entry.atime, entry.mtime

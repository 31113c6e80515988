"""A folder of this machine as a target, safe in a tree that its owner changes while a root process restores into it.

No link is ever followed: every folder is opened below the top one with no-follow, and everything else
happens relative to such a descriptor.  A file is written without a name, or under a temporary one, gets its
metadata through its descriptor, and takes its name last.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from errno import ELOOP, ENOTDIR

from backups.engine import ENTRY_KINDS, Entry, Found, TargetProblem
from restores.targets.beneath import FOLDER, Opener
from restores.targets.files import Birthplace, Lift, NewFile, OldContent, no_lift, owner_of_new, put
from restores.targets.metadata import Give, Metadata
from restores.targets.naming import drop_name, give_name, take_name, temporary_name
from restores.targets.paths import checked_name, components
from restores.targets.policy import LIKE_RESTIC, Policy
from restores.targets.removal import remove

_DEVICES = {"dev": stat.S_IFBLK, "chardev": stat.S_IFCHR}
_ITEM = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE = 0o600
_PRIVATE_FOLDER = 0o700


class FolderTarget:
    """Restores below ``path``, which is made if it is not there.

    ``path`` itself is the caller's word, and links in it count; ``below`` is a path in it that may come from
    an account's owner, and is made and opened without following any.  ``give`` asks for owners that this process cannot
    give itself.  ``lift`` stands around whatever changes the top folder itself.  ``quick`` False uses none of the newer
    system calls.  Raises OSError, TargetProblem.
    """

    forkable = True
    keeps_sockets = False
    """Whether sockets, which no snapshot holds, are passed over as if they were not there."""

    def __init__(
        self,
        path: str | bytes | os.PathLike[str],
        *,
        below: bytes = b"",
        policy: Policy = LIKE_RESTIC,
        give: Give | None = None,
        lift: Lift = no_lift,
        quick: bool = True,
    ) -> None:
        os.makedirs(path, _PRIVATE_FOLDER, exist_ok=True)
        self._top = os.open(path, FOLDER & ~os.O_NOFOLLOW)
        self._metadata = Metadata(policy, give)
        self._unnamed = quick and os.access("/proc/self/fd", os.R_OK)
        try:
            for part in components(below):
                self._descend(part)
        except BaseException:
            self.close()
            raise
        self._opener = Opener(self._top, quick=quick)
        self._lift = lift
        self._uid = owner_of_new(self._top, lift)

    def folder(self, path: bytes, *, fresh: bool = False) -> OpenFolder:
        """Open a folder of the tree."""
        try:
            fd = self._opener.folder(path)
        except OSError as error:
            if error.errno in (ELOOP, ENOTDIR):
                raise TargetProblem("something else stands where a folder was expected") from error
            raise
        metadata = self._metadata.at(path)
        lift = no_lift if path else self._lift
        folder = OpenFolder(fd, metadata, self._opener, self._uid, fresh=fresh, unnamed=self._unnamed, lift=lift)
        folder.keeps_sockets = self.keeps_sockets
        return folder

    def close(self) -> None:
        """Close the top folder."""
        if self._top >= 0:
            os.close(self._top)
            self._top = -1

    def _descend(self, name: bytes) -> None:
        with suppress(FileExistsError):
            os.mkdir(name, _PRIVATE_FOLDER, dir_fd=self._top)
        below = os.open(name, FOLDER, dir_fd=self._top)
        os.close(self._top)
        self._top = below


class OpenFolder:
    """A folder of the tree, held by its descriptor."""

    keeps_sockets = False

    def __init__(
        self, fd: int, metadata: Metadata, opener: Opener, uid: int, *, fresh: bool, unnamed: bool, lift: Lift = no_lift
    ) -> None:
        self._fd = fd
        self._metadata = metadata
        self._opener = opener
        self._uid = uid
        self._lift = lift
        self._shop: tuple[int, bytes] | None = None
        self.fresh = fresh
        have = self._have = os.fstat(fd)
        if fresh and have.st_uid != uid:
            self.close()
            raise TargetProblem("a folder was replaced while it was being restored")
        owner = (uid, have.st_gid if have.st_mode & stat.S_ISGID else os.getegid())
        self._place = Birthplace(fd, metadata, owner, clean=not metadata.inherits(fd), unnamed=unnamed, lift=lift)

    def found(self) -> dict[bytes, Found]:
        """List what is there."""
        return {} if self.fresh else found_in(self._fd, sockets=not self.keeps_sockets)

    def old_file(self, name: bytes) -> OldContent:
        """Open a file that is there."""
        return OldContent(self._fd, name)

    def create(self, entry: Entry, size: int | None = None, *, shared: bool = False) -> NewFile:
        """Begin a file that nobody sees."""
        return NewFile(self._place, size, shared=shared)

    def put(self, entry: Entry, data: bytes) -> None:
        """Make a whole file that nobody sees before it is whole."""
        put(self._place, entry, data)

    def join(self, token: bytes) -> NewFile:
        """Open a file that another process began."""
        return NewFile.joined(self._place, token)

    def update(self, entry: Entry) -> bool:
        """Bring the metadata of a file in place, where that cannot be turned against somebody else's file."""
        try:
            old = OldContent(self._fd, entry.name)
        except (PermissionError, TargetProblem):
            return False
        try:
            if self._metadata.is_equal(old.fd, entry, old.info):
                return True
            if not self._may_change(entry, old.info):
                return False
            lacking = self._metadata.apply(old.fd, entry, (old.info.st_uid, old.info.st_gid))
        finally:
            old.close()
        _raise(lacking)
        return True

    def _may_change(self, entry: Entry, info: os.stat_result) -> bool:
        """As root, change only what nobody but root, or the folder's owner himself, can have put there.

        In a customer's folder a name may be a link to somebody else's file.
        """
        if info.st_nlink != 1:
            return False
        have = self._have
        if self._metadata.uid or (have.st_uid == 0 and not have.st_mode & 0o022):
            return True
        return info.st_uid == have.st_uid and self._metadata.policy.owner(entry) == (info.st_uid, info.st_gid)

    def make(self, entry: Entry) -> bool:
        """Make a link, pipe or device, with its metadata."""
        name = checked_name(entry.name)
        if entry.kind in _DEVICES and not self._metadata.policy.devices:
            return False
        shop = self._workshop()
        temporary = temporary_name()
        _make(shop, temporary, entry)
        try:
            fd = os.open(temporary, _ITEM, dir_fd=shop)
            try:
                lacking = self._metadata.apply_by_path(fd, entry, os.fstat(fd))
            finally:
                os.close(fd)
        except BaseException:
            drop_name(shop, temporary)
            raise
        with self._lift():
            take_name(shop, temporary, self._fd, name)
        _raise(lacking)
        return True

    def _workshop(self) -> int:
        """Return the descriptor of a folder in which nobody else can touch a name.

        What is made there is what gets its owner: in the folder itself, its own owner could put somebody
        else's item in its place in between.
        """
        if _is_private(self._have, self._uid) and self._lift is no_lift:
            return self._fd
        if self._shop is None:
            name = temporary_name()
            with self._lift():
                os.mkdir(name, _PRIVATE_FOLDER, dir_fd=self._fd)
            fd = os.open(name, FOLDER, dir_fd=self._fd)
            if not _is_private(os.fstat(fd), self._uid):
                os.close(fd)
                raise TargetProblem("a temporary folder was replaced")
            self._shop = (fd, name)
        return self._shop[0]

    def make_folder(self, name: bytes) -> bool:
        """Make a folder, private until it is finished."""
        checked_name(name)
        with self._lift():
            try:
                os.mkdir(name, _PRIVATE_FOLDER, dir_fd=self._fd)
            except FileExistsError:
                there = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
                if stat.S_ISDIR(there.st_mode):
                    return False
                os.unlink(name, dir_fd=self._fd)
                os.mkdir(name, _PRIVATE_FOLDER, dir_fd=self._fd)
        return True

    def link(self, name: bytes, first: bytes) -> None:
        """Give the file at ``first`` another name, by its descriptor."""
        checked_name(name)
        fd = self._opener.item(first)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise TargetProblem("the file it is another name of was replaced")
            if not self._is_same(name, info):
                with self._lift():
                    give_name(self._fd, fd, name)
        finally:
            os.close(fd)

    def _is_same(self, name: bytes, info: os.stat_result) -> bool:
        try:
            there = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (info.st_dev, info.st_ino)

    def remove(self, name: bytes) -> int:
        """Remove an item with all that is below it."""
        return remove(self._fd, checked_name(name), self._lift)

    def finish(self, entry: Entry) -> None:
        """Give the folder its metadata."""
        have = self._have
        clean = self.fresh and self._place.clean
        metadata = self._metadata.of_itself()
        _raise(metadata.apply(self._fd, entry, (have.st_uid, have.st_gid), clean=clean))

    def close(self) -> None:
        """Close the descriptor."""
        if self._shop is not None:
            os.close(self._shop[0])
            with suppress(OSError), self._lift():
                os.rmdir(self._shop[1], dir_fd=self._fd)
            self._shop = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def found_in(fd: int, *, sockets: bool = True) -> dict[bytes, Found]:
    """List what is in an open folder, with or without its sockets."""
    found: dict[bytes, Found] = {}
    with os.scandir(fd) as listing:
        for item in listing:
            with suppress(FileNotFoundError):
                info = item.stat(follow_symlinks=False)
                if stat.S_ISSOCK(info.st_mode) and not sockets:
                    continue
                kind = ENTRY_KINDS.get(stat.S_IFMT(info.st_mode), "other")
                found[os.fsencode(item.name)] = Found(kind, info.st_size, info.st_mtime_ns)
    return found


def _is_private(info: os.stat_result, uid: int) -> bool:
    return info.st_uid == uid and not info.st_mode & 0o077


def _make(folder: int, name: bytes, entry: Entry) -> None:
    if entry.kind == "symlink":
        os.symlink(entry.target, name, dir_fd=folder)
    elif entry.kind == "fifo":
        os.mkfifo(name, _PRIVATE, dir_fd=folder)
    elif entry.kind in _DEVICES:
        os.mknod(name, _DEVICES[entry.kind] | _PRIVATE, entry.rdev, dir_fd=folder)
    else:
        raise TargetProblem(f"items of the kind {entry.kind!r} cannot be made")


def _raise(problem: TargetProblem | None) -> None:
    if problem is not None:
        raise problem

"""Folders of this machine as a source.

Every folder is opened relative to its parent's descriptor with no-follow and compared with what was
listed, so that an owner who swaps a folder for a link while we read as root gains nothing.  A file is
opened the same way, never waits for a pipe, and is compared too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from errno import ELOOP, ENOTDIR, EPERM

from backups.engine import Entry, SourceFile, SourceFolder, SourceProblem
from backups.sources.composed import Member, Problem, VirtualFolder
from backups.sources.listing import FILE_FLAGS, NO_XATTR, entry_of, list_folder, native_slurp, read_xattrs

CACHE_TAG = b"CACHEDIR.TAG"
CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
MAX_DEPTH = 800
"""Folders below one another; deeper ones are reported and left out."""

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

Excluded = Callable[[bytes, bool], bool]
"""Given an absolute path and whether it is a folder: leave it out?"""


@dataclass(frozen=True, slots=True)
class FolderOptions:
    """What a folder source leaves out.

    ``excluded`` decides by path; ``one_file_system`` keeps mount points as empty folders; ``exclude_caches``
    leaves out what lies beside a cache tag; ``owners`` (user ids), if given, refuses files that have several
    links and belong to somebody else: a link to a stranger's file.
    """

    excluded: Excluded | None = None
    one_file_system: bool = False
    exclude_caches: bool = False
    owners: frozenset[int] | None = None
    xattrs: bool = True


@dataclass(slots=True)
class _Context:
    options: FolderOptions
    problem: Problem
    real: Mapping[bytes, bytes] = field(default_factory=dict)
    modes: Mapping[bytes, int] = field(default_factory=dict)
    noatime: int = field(default=os.O_NOATIME if hasattr(os, "O_NOATIME") else 0)


class FsFile:
    """An open file of a folder."""

    __slots__ = ("_fd", "_info", "entry")

    def __init__(self, fd: int, entry: Entry, info: os.stat_result) -> None:
        self._fd = fd
        self._info = info
        self.entry = entry

    def read(self, size: int) -> bytes:
        return os.read(self._fd, size)

    def changed(self) -> bool:
        """Tell whether the file was written to since it was opened."""
        now, then = os.fstat(self._fd), self._info
        return (now.st_mtime_ns, now.st_size, now.st_ctime_ns) != (then.st_mtime_ns, then.st_size, then.st_ctime_ns)

    def close(self) -> None:
        os.close(self._fd)


class FsFolder:
    """An open folder of this machine."""

    __slots__ = ("_context", "_depth", "_fd", "_foreign", "_path", "entry")

    def __init__(
        self, fd: int, path: bytes, entry: Entry, context: _Context, *, foreign: bool = False, depth: int = 0
    ) -> None:
        self._fd = fd
        self._path = path
        self._context = context
        self._foreign = foreign
        self._depth = depth
        self.entry = entry

    def entries(self) -> list[Entry]:
        if self._foreign:
            return []
        context = self._context
        options = context.options
        found, plain = list_folder(self._fd, self._failed)
        if options.exclude_caches and self._is_tagged_cache():
            found = [entry for entry in found if entry.name == CACHE_TAG]
        excluded = options.excluded
        if excluded is not None:
            prefix = self._prefix()
            found = [entry for entry in found if not excluded(prefix + entry.name, entry.kind == "dir")]
        if plain:
            return found
        return [entry for entry in found if entry.kind != "symlink" or self._has_target(entry)]

    def _failed(self, name: bytes, error: OSError) -> None:
        self._context.problem(self._prefix() + name, error)

    def _prefix(self) -> bytes:
        return self._path if self._path.endswith(b"/") else self._path + b"/"

    def _has_target(self, entry: Entry) -> bool:
        """Read where a link points; False if that cannot be done."""
        try:
            entry.target = os.readlink(entry.name, dir_fd=self._fd)
        except OSError as error:
            self._failed(entry.name, error)
            return False
        return True

    def xattrs(self, entry: Entry) -> Sequence[tuple[bytes, bytes | None]]:
        if not self._context.options.xattrs:
            return ()
        return read_xattrs(b"/proc/self/fd/%d/%b" % (self._fd, entry.name))

    def open(self, entry: Entry) -> SourceFile:
        context = self._context
        fd = self._openat(entry, FILE_FLAGS)
        try:
            info = os.fstat(fd)
            _check_opened(info, entry)
            owners = context.options.owners
            if owners is not None and info.st_nlink > 1 and info.st_uid not in owners:
                raise SourceProblem("is a link to a file of another owner, and is not read")
            fresh = entry_of(entry.name, info)
            assert fresh is not None
            if context.options.xattrs:
                fresh.xattrs = read_xattrs(fd)
        except BaseException:
            os.close(fd)
            raise
        return FsFile(fd, fresh, info)

    def slurp(self, entry: Entry, limit: int) -> tuple[Entry, bytes] | None:
        """Read a small file with as few calls as can be: most files of a server are read here."""
        context = self._context
        options = context.options
        if native_slurp is not None and entry.size <= limit:
            single = options.owners is not None
            try:
                whole = native_slurp(
                    self._fd, entry.name, FILE_FLAGS, context.noatime, entry.inode, entry.device, entry.size,
                    entry.mtime, entry.ctime, single, options.xattrs,
                )  # fmt: skip
            except OverflowError:  # a time that only Python's own numbers hold
                whole = None
            if whole is not None:
                return entry, whole
        fd = self._openat(entry, FILE_FLAGS)
        try:
            info = os.fstat(fd)
            _check_opened(info, entry)
            size = info.st_size
            if (
                info.st_ctime_ns != entry.ctime
                or info.st_mtime_ns != entry.mtime
                or size != entry.size
                or size > limit
                or (info.st_nlink > 1 and context.options.owners is not None)
            ):
                return None
            data = os.read(fd, size + 1)
            after = os.fstat(fd)
            if len(data) != size or after.st_mtime_ns != entry.mtime or after.st_ctime_ns != entry.ctime:
                return None
            if context.options.xattrs and os.listxattr(fd):
                entry.xattrs = read_xattrs(fd)
        except OSError as error:
            if error.errno in NO_XATTR:
                return None
            raise
        finally:
            os.close(fd)
        return entry, data

    def enter(self, entry: Entry) -> SourceFolder:
        if self._depth >= MAX_DEPTH:
            raise SourceProblem(f"lies more than {MAX_DEPTH} folders deep")
        fd = self._openat(entry, _FOLDER_FLAGS)
        try:
            info = os.fstat(fd)
            if info.st_ino != entry.inode or info.st_dev != entry.device:
                raise SourceProblem("was replaced while its parent was read")
            path = self._path + entry.name if self._path.endswith(b"/") else self._path + b"/" + entry.name
            return _folder(fd, path, entry.name, info, self._context, self.entry.device, self._depth + 1)
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def _openat(self, entry: Entry, flags: int) -> int:
        context = self._context
        try:
            return os.open(entry.name, flags | context.noatime, dir_fd=self._fd)
        except PermissionError as error:
            if error.errno != EPERM or not context.noatime:
                raise
            return os.open(entry.name, flags, dir_fd=self._fd)
        except OSError as error:
            if error.errno in (ELOOP, ENOTDIR):
                raise SourceProblem("became a link while the folder was read") from error
            raise

    def _is_tagged_cache(self) -> bool:
        try:
            fd = os.open(CACHE_TAG, FILE_FLAGS, dir_fd=self._fd)
        except OSError:
            return False
        try:
            return os.read(fd, len(CACHE_SIGNATURE)) == CACHE_SIGNATURE
        except OSError:
            return False
        finally:
            os.close(fd)


def _check_opened(info: os.stat_result, entry: Entry) -> None:
    """Raise SourceProblem if what was opened is not the file that was listed."""
    if not stat.S_ISREG(info.st_mode):
        raise SourceProblem("became something else while the folder was read")
    if info.st_ino != entry.inode or info.st_dev != entry.device:
        raise SourceProblem("was replaced while the folder was read")


def _folder(
    fd: int, path: bytes, name: bytes, info: os.stat_result, context: _Context, parent_device: int, depth: int
) -> FsFolder:
    entry = entry_of(name, info)
    assert entry is not None
    if context.options.xattrs:
        try:
            entry.xattrs = read_xattrs(fd)
        except OSError as error:
            context.problem(path, error)
    foreign = context.options.one_file_system and parent_device not in (0, info.st_dev)
    return FsFolder(fd, path, entry, context, foreign=foreign, depth=depth)


class _Target:
    """A path given by the caller, as a member of a virtual folder; ``told`` is how its content is spoken of."""

    def __init__(self, path: bytes, name: bytes, entry: Entry, context: _Context, told: bytes) -> None:
        self._path = path
        self._told = told
        self._context = context
        self.entry = entry
        entry.name = name

    def enter_self(self) -> SourceFolder:
        fd = os.open(self._path, _FOLDER_FLAGS)
        try:
            info = os.fstat(fd)
            if info.st_ino != self.entry.inode or info.st_dev != self.entry.device:
                raise SourceProblem("was replaced while it was being opened")
            told = os.path.abspath(self._told)
            folder = _folder(fd, told, self.entry.name, info, self._context, 0, 0)
            mode = self._context.modes.get(told)
            if mode is not None:
                folder.entry.mode = stat.S_IFDIR | mode
            return folder
        except BaseException:
            os.close(fd)
            raise

    def open(self) -> SourceFile:
        parent = os.open(os.path.dirname(self._path) or b".", _FOLDER_FLAGS & ~os.O_NOFOLLOW)
        folder = FsFolder(parent, b"", Entry(b"", "dir", 0, 0, 0), self._context)
        listed = Entry(
            os.path.basename(self._path),
            "file",
            0,
            0,
            self.entry.ctime,
            inode=self.entry.inode,
            device=self.entry.device,
        )
        try:
            opened = folder.open(listed)
        finally:
            folder.close()
        opened.entry.name = self.entry.name
        return opened


class _Node:
    """The merged tree of all targets while it is being put together."""

    def __init__(self) -> None:
        self.path: bytes | None = None
        self.whole = False
        self.children: dict[bytes, _Node] = {}


class FolderSource:
    """Paths of this machine, laid out as the format does: absolute ones below their parents' names,
    relative ones below their own, several merged into one tree.

    Raises nothing for a path that is not there: that is a problem like any other, told when the root is
    opened.  Of such a path the folders above are left out too.  ``real`` names where a path's content lies instead:
    the caller followed a link.  ``modes`` are permissions that a path is stored with instead of those it has.
    """

    def __init__(
        self,
        paths: Sequence[bytes],
        options: FolderOptions = FolderOptions(),
        real: Mapping[bytes, bytes] | None = None,
        modes: Mapping[bytes, int] | None = None,
    ) -> None:
        self.paths = [bytes(path) for path in paths]
        self._options = options
        self._real = {os.path.normpath(path): place for path, place in (real or {}).items()}
        self._modes = {os.path.abspath(path): mode for path, mode in (modes or {}).items()}

    def root(self, problem: Problem) -> SourceFolder:
        """Open every target and return the root they are merged under."""
        context = _Context(self._options, problem, self._real, self._modes)
        top = _Node()
        taken: dict[bytes, bytes] = {}
        for path in dict.fromkeys(os.path.normpath(path) for path in self.paths):
            try:
                os.lstat(self._real.get(path, path))
            except OSError as error:
                problem(path, error)
            else:
                _place(top, path, taken)
        return _virtual(b"", None, top, context)


def _split(path: bytes) -> tuple[bytes, list[bytes]]:
    """Return (the root a path starts from, its components)."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if path.startswith(b"/"):
        return b"/", parts
    ups = 0
    while ups < len(parts) and parts[ups] == b"..":
        ups += 1
    return (b"/".join([b".."] * ups) or b"."), parts[ups:]


def _place(top: _Node, path: bytes, taken: dict[bytes, bytes]) -> None:
    root, parts = _split(path)
    if not parts:
        try:
            names = sorted(os.listdir(root))
        except OSError:
            names = []
        for name in names:
            _put(top, root, [name], taken)
        return
    _put(top, root, parts, taken)


def _put(top: _Node, root: bytes, parts: list[bytes], taken: dict[bytes, bytes]) -> None:
    first = parts[0]
    number = 0
    while taken.setdefault(first, root) != root:
        number += 1
        first = parts[0] + b"-%d" % number
    node = top
    path = root
    for depth, part in enumerate(parts):
        path = part if path == b"." else path.rstrip(b"/") + b"/" + part
        node = node.children.setdefault(first if depth == 0 else part, _Node())
        node.path = path
    node.whole = True


def _virtual(name: bytes, path: bytes | None, node: _Node, context: _Context) -> VirtualFolder:
    members: dict[bytes, Member] = {}
    for child_name, child in node.children.items():
        assert child.path is not None
        place = context.real.get(child.path, child.path) if child.whole else child.path
        try:
            info = os.lstat(place) if child.whole else os.stat(place)
            entry = entry_of(child_name, info)
            if entry is None:
                continue
            if entry.kind == "symlink":
                entry.target = os.readlink(place)
            if context.options.xattrs:
                entry.xattrs = _target_xattrs(place, whole=child.whole)
        except OSError as error:
            context.problem(child.path, error)
            continue
        if child.whole:
            # A target inside another one is part of it.
            members[child_name] = _Target(place, child_name, entry, context, child.path)
        else:
            folder = _virtual(child_name, child.path, child, context)
            folder.entry = entry
            members[child_name] = folder
    plain = Entry(name, "dir", stat.S_IFDIR | 0o755, 0, 0)
    return VirtualFolder(plain, members)


def _target_xattrs(path: bytes, *, whole: bool) -> Sequence[tuple[bytes, bytes | None]]:
    try:
        return read_xattrs(path, follow=not whole)
    except OSError:
        if whole:
            raise
        return ()

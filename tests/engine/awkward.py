"""A source tree with everything that is hard to back up, and a description of a tree to compare by.

What this machine or user cannot make (devices, foreign owners, attributes on some file systems) is left out.
"""

from __future__ import annotations

import os
import random
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

NAMES = [
    b"plain",
    b" leading and trailing ",
    b"-dash",
    b"..dots",
    b"...",
    b'quote"and\\backslash',
    b"\\x41",
    b"<html> & 'more'",
    b"*?[a]",
    b"$HOME",
    b"new\nline",
    b"tab\ttab",
    b"del\x7f",
    *(b"control%c" % code for code in range(1, 32)),
    "déjà vu".encode(),
    "déjà decomposed".replace("é", "e\u0301").encode(),
    "no-break\u00a0space".encode(),
    "ideographic\u3000space".encode(),
    "joiner\u200d".encode(),
    "soft\u00adhyphen".encode(),
    "\ufeffmark".encode(),
    "line\u2028separator\u2029".encode(),
    "replacement\ufffd".encode(),
    "private\ue000\U0010fffd".encode(),
    "unassigned\u0378".encode(),
    "\u202eright to left".encode(),
    "\U0001f600 \U0001fae8".encode(),
    "\u4e2d\u6587".encode(),
    b"latin\xe9",
    b"\xff\xfe\x80",
    b"overlong\xc0\xaf",
    b"surrogate\xed\xa0\x80",
    b"beyond\xf4\x90\x80\x80",
    b"cut\xe2\x82",
    b"n" * 255,
    b"config",
    b"x-tmp-123",
]
"""One of each class: what is quoted, escaped twice, not text at all, as long as may be."""

MODES = (0o000, 0o400, 0o111, 0o644, 0o4755, 0o2755, 0o1777, 0o7777)

TIMES = {
    "before-1970": -86_400 * 365 * 30 * 10**9,
    "one-before": -1,
    "zero": 0,
    "whole": 1_700_000_000 * 10**9,
    "one-digit": 1_700_000_000 * 10**9 + 500_000_000,
    "nine-digits": 1_700_000_000 * 10**9 + 123_456_789,
    "trailing-zeros": 1_700_000_000 * 10**9 + 120_000,
    "summer": 1_689_500_000 * 10**9 + 7,
    "after-2038": 4_000_000_000 * 10**9 + 999_999_999,
}

TARGETS = [
    b"plain",
    b"../up",
    b"/etc/hostname",
    b"nowhere/at/all",
    b".",
    b"latin\xe9\xff",
    b"back\x08space form\x0cfeed",
    b'quote"back\\slash <&>\n\t\x01\x7f',
    "separator\u2028\u2029 \U0001f600".encode(),
    b"long/" * 200,
]

_NO_ID = 0xFFFFFFFF
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, bits, owner)
    for tag, bits, owner in ((1, 6, _NO_ID), (2, 4, 1234), (4, 4, _NO_ID), (16, 4, _NO_ID), (32, 4, _NO_ID))
)
"""An access list as the kernel takes it: user 1234 may read."""


def _try(call: Callable[..., Any], *args: Any, **options: Any) -> bool:
    """Do it where this machine lets us."""
    try:
        call(*args, **options)
    except (OSError, NotImplementedError):
        return False
    return True


def _write(path: bytes, content: bytes = b"") -> bytes:
    with open(path, "xb") as file:
        file.write(content)
    return path


def _folder(path: bytes) -> bytes:
    os.mkdir(path)
    return path + b"/"


def make_awkward_tree(root: bytes, *, wide: int = 600, deep: int = 40) -> None:
    """Fill the new folder ``root``.  ``wide`` is the number of files in one folder, ``deep`` the depth of another."""
    top = _folder(root)
    for number, name in enumerate(NAMES):
        _write(top + name, b"content of %d" % number)
    _sizes(_folder(top + b"sizes"))
    _modes(_folder(top + b"modes"))
    _times(_folder(top + b"times"))
    _links(_folder(top + b"links"))
    _specials(_folder(top + b"specials"))
    _attributes(_folder(top + b"attributes"))
    _owners(_folder(top + b"owners"))
    many = _folder(top + b"wide")
    for number in range(wide):
        _write(many + b"%06d" % number, b"%d" % (number % 50))
    path = top
    for number in range(deep):
        path = _folder(path + b"deep")
        _write(path + b"file", b"%d" % number)
    _folder(top + b"empty folder")
    _folder(top + b"same")
    for name in (b"one", b"two"):
        _write(_folder(top + b"same/" + name) + b"file", b"same")
    os.utime(top + b"same/two/file", ns=(0, 1))


def _sizes(top: bytes) -> None:
    rng = random.Random(7)
    for size in (0, 1, 2, 63, 64, 65, 100_000, 512 * 1024 - 1, 512 * 1024, 512 * 1024 + 1):
        _write(top + b"random-%d" % size, rng.randbytes(size))
    _write(top + b"text", b"the same line again and again\n" * 20_000)
    _write(top + b"several-chunks", rng.randbytes(2_500_000))
    _write(top + b"zeros", bytes(1_100_000))
    with open(top + b"sparse", "xb") as file:
        file.write(b"head")
        file.seek(1_500_000)
        file.write(b"tail")
        file.truncate(2_000_000)
    with open(top + b"only-hole", "xb") as file:
        file.truncate(700_000)


def _modes(top: bytes) -> None:
    for mode in MODES:
        os.chmod(_write(top + b"file-%04o" % mode, b"x"), mode)
    for mode in MODES:
        folder = _folder(top + b"folder-%04o" % mode)
        _write(folder + b"inside", b"%o" % mode)
        os.chmod(folder, mode)


def _times(top: bytes) -> None:
    for name, moment in TIMES.items():
        os.utime(_write(top + name.encode(), b"t"), ns=(moment, moment))
    for name, moment in TIMES.items():
        folder = _folder(top + b"folder-" + name.encode())
        os.utime(folder, ns=(moment, moment))
    os.symlink(b"x", top + b"link")
    os.utime(top + b"link", ns=(5, -5_000_000_001), follow_symlinks=False)


def _links(top: bytes) -> None:
    for number, target in enumerate(TARGETS):
        os.symlink(target, top + b"to-%d" % number)
    _write(top + b"first", b"one content, three names")
    os.link(top + b"first", top + b"second")
    os.link(top + b"first", _folder(top + b"below") + b"third")
    os.symlink(b"below", top + b"folder-link")
    _try(os.link, top + b"to-0", top + b"to-0-again", follow_symlinks=False)


def _specials(top: bytes) -> None:
    os.mkfifo(top + b"pipe", 0o640)
    _make_socket(top)
    _try(os.mknod, top + b"null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    _try(os.mknod, top + b"block", stat.S_IFBLK | 0o640, os.makedev(7, 250))
    _try(os.mknod, top + b"high", stat.S_IFCHR | 0o600, os.makedev(300, 70_000))


def _make_socket(folder: bytes) -> None:
    """The address of a socket has to be short."""
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as made:
            made.bind(b"/proc/self/fd/%d/socket" % here)
    finally:
        os.close(here)


def _attributes(top: bytes) -> None:
    one = _write(top + b"file", b"with attributes")
    for name, value in (("zz", b"last first"), ("empty", b""), ("aa", bytes(range(256))), ("ü <&>", b"named")):
        _try(os.setxattr, one, f"user.{name}", value)
    _try(os.setxattr, one, b"user.control\x08\x0c", b"v")
    _try(os.setxattr, one, b"system.posix_acl_access", ACL)
    _try(os.setxattr, _write(top + b"not-text"), b"user.latin\xe9", b"v")
    _try(os.setxattr, _write(top + b"large"), b"user.large", b"l" * 2000)
    folder = _folder(top + b"folder")
    _try(os.setxattr, folder, b"user.on-a-folder", b"v")
    _try(os.setxattr, folder, b"system.posix_acl_default", ACL)
    _write(folder + b"inherits", b"x")
    os.symlink(b"file", top + b"link")
    _try(os.setxattr, top + b"link", b"trusted.on-a-link", b"v", follow_symlinks=False)
    _try(os.setxattr, top + b"file", b"trusted.secret", b"v")


def _owners(top: bytes) -> None:
    for uid, gid in ((0, 0), (1234, 5678), (65534, 65534), (4_294_967_290, 4_000_000_000)):
        path = _write(top + b"%d-%d" % (uid, gid), b"owned")
        if not _try(os.chown, path, uid, gid):
            continue
        os.chmod(path, 0o4755)
        os.symlink(b"x", path + b"-link")
        os.lchown(path + b"-link", uid, gid)
        os.chown(_folder(path + b"-folder"), uid, gid)


class Described(NamedTuple):
    """What a restore must bring back of one item.  ``times`` of a folder above the compared tree do not count."""

    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int
    rdev: int
    target: bytes
    digest: str
    first: bytes
    """The first of a file's names; the format ties no others together."""
    xattrs: tuple[tuple[str, bytes], ...]


def describe(root: bytes) -> dict[bytes, Described]:
    """Everything below ``root`` and itself, by path below it; without sockets."""
    found: dict[bytes, Described] = {}
    firsts: dict[tuple[int, int], bytes] = {}
    _describe(root, b"", found, firsts)
    return found


def _describe(path: bytes, name: bytes, found: dict[bytes, Described], firsts: dict[tuple[int, int], bytes]) -> None:
    info = os.lstat(path)
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFSOCK:
        return
    digest = ""
    if kind == stat.S_IFREG:
        with open(path, "rb") as file:
            digest = sha256(file.read()).hexdigest()
    xattrs = tuple(
        (item, os.getxattr(path, item, follow_symlinks=False))
        for item in sorted(os.listxattr(path, follow_symlinks=False))
    )
    found[name] = Described(
        kind,
        0 if kind == stat.S_IFLNK else stat.S_IMODE(info.st_mode),
        info.st_uid,
        info.st_gid,
        info.st_mtime_ns,
        info.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0,
        os.readlink(path) if kind == stat.S_IFLNK else b"",
        digest,
        firsts.setdefault((info.st_dev, info.st_ino), name) if kind == stat.S_IFREG else name,
        xattrs,
    )
    if kind == stat.S_IFDIR:
        for item in sorted(os.listdir(path)):
            _describe(path + b"/" + item, name + b"/" + item if name else item, found, firsts)


def differences(expected: dict[bytes, Described], got: dict[bytes, Described]) -> list[str]:
    """What is missing, too much, or different; short enough to read."""
    said = [f"missing {name!r}" for name in expected if name not in got]
    said += [f"unexpected {name!r}" for name in got if name not in expected]
    for name, item in expected.items():
        other = got.get(name)
        if other is not None and other != item:
            fields = [
                f"{field} {one!r} != {two!r}"
                for field, one, two in zip(item._fields, item, other, strict=True)
                if one != two
            ]
            said.append(f"{name[:60]!r}: {', '.join(fields)[:300]}")
    return said

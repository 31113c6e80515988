"""Archives written from the first byte to the last, to anything that has ``write``: tar, tar.gz and zip."""

from __future__ import annotations

import gzip
import stat
import tarfile
import time
import zipfile
from collections.abc import Iterable
from typing import IO, Literal, Protocol, cast

from backups.engine import Archive, Entry, TargetProblem
from restores.targets.paths import components, portable_path

Format = Literal["tar", "tar.gz", "zip"]
_BLOCK = 512
_NANOSECONDS = 1_000_000_000
_FIRST_ZIP_YEAR, _LAST_ZIP_YEAR = 1980, 2107
_TAR_KINDS = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "dev": tarfile.BLKTYPE,
    "chardev": tarfile.CHRTYPE,
    "fifo": tarfile.FIFOTYPE,
}


class Output(Protocol):
    """Where an archive goes."""

    def write(self, data: bytes, /) -> object: ...


def open_archive(form: Format, out: Output) -> Archive:
    """Begin an archive of this form on ``out``, which is written in order and never closed."""
    if form == "zip":
        return ZipArchive(out)
    return TarArchive(out, compressed=form == "tar.gz")


class TarArchive:
    """POSIX tar: names of any bytes, times in nanoseconds, owners, devices, hard links, extended attributes."""

    holds_links = True

    def __init__(self, out: Output, *, compressed: bool = False) -> None:
        self._zip = gzip.GzipFile(fileobj=_Writes(out), mode="wb", compresslevel=6, mtime=0) if compressed else None
        self._out: Output = self._zip or out

    def add(
        self, path: bytes, entry: Entry, *, size: int = 0, data: Iterable[bytes] = (), same_as: bytes = b""
    ) -> None:
        """Append an item."""
        info = _tar_info(path, entry, size)
        if same_as:
            info.type, info.size, info.linkname = tarfile.LNKTYPE, 0, _text(same_as)
        self._out.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        written = 0
        for block in data:
            self._out.write(block)
            written += len(block)
        if written != info.size:
            raise OSError(f"an archive member of {info.size} bytes became {written}")
        if written % _BLOCK:
            self._out.write(bytes(_BLOCK - written % _BLOCK))

    def close(self) -> None:
        """Write the two empty blocks of the end."""
        self._out.write(bytes(2 * _BLOCK))
        if self._zip is not None:
            self._zip.close()


def _tar_info(path: bytes, entry: Entry, size: int) -> tarfile.TarInfo:
    components(path)
    info = tarfile.TarInfo(_text(path) + ("/" if entry.kind == "dir" else ""))
    headers: dict[str, str] = {}
    info.pax_headers = headers
    info.type = _TAR_KINDS[entry.kind]
    info.mode = entry.mode & 0o7777
    info.uid, info.gid = entry.uid, entry.gid
    info.mtime, fraction = divmod(entry.mtime, _NANOSECONDS)
    if fraction or info.mtime < 0:
        headers["mtime"] = _seconds(entry.mtime)
    if entry.kind == "file":
        info.size = size
    elif entry.kind == "symlink":
        info.linkname = _text(entry.target)
    elif entry.kind in ("dev", "chardev"):
        info.devmajor, info.devminor = _numbers(entry.rdev)
    for name, value in entry.xattrs:
        if value is not None:
            headers[f"SCHILY.xattr.{_text(name)}"] = _text(value)
    return info


def _seconds(instant: int) -> str:
    """Return an instant as decimal seconds with all its nanoseconds."""
    sign = "-" if instant < 0 else ""
    seconds, fraction = divmod(abs(instant), _NANOSECONDS)
    return f"{sign}{seconds}.{fraction:09d}".rstrip("0").rstrip(".")


def _numbers(rdev: int) -> tuple[int, int]:
    major, minor = (rdev >> 8) & 0xFFF | (rdev >> 32) & ~0xFFF, rdev & 0xFF | (rdev >> 12) & ~0xFF
    if max(major, minor & 0xFFFFFFFF) > 0o7777777:
        raise TargetProblem("a tar archive cannot hold a device of these numbers")
    return major, minor & 0xFFFFFFFF


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


class ZipArchive:
    """Zip for any system: compressed, larger than 4 GiB where needed, with names that every program can unpack.

    It holds files, folders and symbolic links; what other names a file had, it holds as copies.
    """

    holds_links = False

    def __init__(self, out: Output) -> None:
        self._zip = zipfile.ZipFile(
            cast(IO[bytes], _Writes(out)), "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=6
        )
        self._taken: set[str] = set()

    def add(
        self, path: bytes, entry: Entry, *, size: int = 0, data: Iterable[bytes] = (), same_as: bytes = b""
    ) -> None:
        """Append an item."""
        if entry.kind not in ("file", "dir", "symlink"):
            raise TargetProblem("a zip archive cannot hold devices and pipes")
        info = zipfile.ZipInfo(self._name(path, entry.kind == "dir"), _zip_time(entry.mtime))
        info.create_system = 3
        info.compress_type = zipfile.ZIP_DEFLATED
        kind = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK}[entry.kind]
        info.external_attr = (kind | entry.mode & 0o777) << 16
        if entry.kind == "dir":
            info.external_attr |= 0x10
            info.compress_type = zipfile.ZIP_STORED
        if entry.kind == "symlink":
            size, data = len(entry.target), (entry.target,)
        info.file_size = size
        with self._zip.open(info, "w", force_zip64=size >= zipfile.ZIP64_LIMIT // 2) as member:
            for block in data:
                member.write(block)

    def close(self) -> None:
        """Write the list of contents."""
        self._zip.close()

    def _name(self, path: bytes, folder: bool) -> str:
        """Return a name that no other file of the archive has; different names may have become the same."""
        name = wanted = portable_path(path)
        number = 1
        while not folder and name in self._taken:
            number += 1
            stem, dot, ending = wanted.rpartition(".")
            name = f"{wanted}~{number}" if "/" in ending or not stem else f"{stem}~{number}{dot}{ending}"
        self._taken.add(name)
        return name + "/" if folder else name


def _zip_time(instant: int) -> tuple[int, int, int, int, int, int]:
    """Return a time as zip holds it: local, between 1980 and 2107."""
    try:
        when = time.localtime(instant // _NANOSECONDS)
    except (OverflowError, ValueError):
        return (_FIRST_ZIP_YEAR, 1, 1, 0, 0, 0)
    if when.tm_year < _FIRST_ZIP_YEAR:
        return (_FIRST_ZIP_YEAR, 1, 1, 0, 0, 0)
    if when.tm_year > _LAST_ZIP_YEAR:
        return (_LAST_ZIP_YEAR, 12, 31, 23, 59, 58)
    return when[:6]


class _Writes:
    """An output as the libraries want it: ``write`` says how much was written, and nothing closes it."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def write(self, data: bytes) -> int:
        self._out.write(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

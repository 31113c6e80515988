"""Listing a folder of an FTP server, by the best way that the server knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from destinations.storage.ftp_control import Refused
from destinations.storage.ftp_link import FtpLink
from destinations.storage.ftp_listing import Entry, UnknownListing, parse_list, parse_mlsd
from destinations.storage.ftp_meaning import ABSENT, DENIED

_SAFE_TO_LIST = re.compile(r"[\w./][\w./-]*", re.ASCII)
_UNKNOWN_COMMAND = (500, 502, 504)


class Lister:
    """Remembers which commands the server lacks."""

    def __init__(self) -> None:
        self._no_mlsd = False

    def entries(self, link: FtpLink, path: str) -> list[Entry]:
        if not self._no_mlsd:
            try:
                return parse_mlsd(link.lines(f"MLSD {path}".rstrip()))
            except Refused as refused:
                if refused.reply not in _UNKNOWN_COMMAND:
                    raise
                self._no_mlsd = True
        return self._plain_entries(link, path)

    def _plain_entries(self, link: FtpLink, path: str) -> list[Entry]:
        """List without MLSD: LIST if we can read it, else names and sizes one by one."""
        with _inside(link, path) as shown:
            try:
                return parse_list(link.lines(f"LIST {shown}".rstrip()))
            except UnknownListing:
                names = [line.rpartition("/")[2] for line in link.lines(f"NLST {shown}".rstrip())]
        entries = []
        for name in names:
            try:
                entries.append(Entry(name, False, link.size(f"{path}/{name}" if path else name)))
            except Refused:
                entries.append(Entry(name, True, None))
        return entries

    def is_there(self, link: FtpLink, path: str, refused: Refused) -> bool:
        """A listing was refused: say whether the folder exists, so that nobody takes a closed folder for empty."""
        if ABSENT.search(refused.said):
            return False
        parent, slash, name = path.rstrip("/").rpartition("/")
        if not name or DENIED.search(refused.said):
            return True
        parent = parent or slash
        try:
            return any(entry.name == name for entry in self.entries(link, parent))
        except Refused:
            return False


@contextmanager
def _inside(link: FtpLink, path: str) -> Iterator[str]:
    """Yield what to name in a LIST of ``path``: nothing after changing into it, if its name could be misread."""
    if not path or _SAFE_TO_LIST.fullmatch(path):
        yield path
        return
    home = link.command("PWD").partition('"')[2].rpartition('"')[0].replace('""', '"')
    link.command(f"CWD {path}")
    try:
        yield ""
    finally:
        link.command(f"CWD {home}")

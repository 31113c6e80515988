"""Reading the listings that FTP servers print: MLSD facts, Unix ``ls -l`` and Windows ``dir``."""

from __future__ import annotations

import re
from typing import NamedTuple


class Entry(NamedTuple):
    """A line of a listing; ``size`` is None if the line does not tell it."""

    name: str
    is_folder: bool
    size: int | None


class UnknownListing(Exception):
    """A line looks like nothing we know."""


_UNIX = re.compile(
    r"(?P<type>[-dlbcps])[-rwxsStTlL]{9}[+.@]?\s+"  # type and rights
    r"(?:\d+\s+)?(?:\S+\s+){1,2}?(?P<size>\d+)\s+"  # links, owner, group, size
    r"(?:[A-Za-z]{3}\s+\d{1,2}|\d{1,2}\s+[A-Za-z]{3}|\d{4}-\d\d-\d\d)\s+(?:\d{4}|\d{1,2}:\d\d(?::\d\d)?)\s"
    r"(?P<name>.+)"
)
_WINDOWS = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{2,4}\s+\d{1,2}:\d\d\s*(?:[AaPp][Mm])?\s+"
    r"(?P<what><(?:DIR|JUNCTION|SYMLINKD?)>|[\d,.]+)\s+(?P<name>.+)"
)
_NOISE = re.compile(r"\s*|total\s+\d+|.*\b(?:directory|volume|verzeichnis)\b.*", re.IGNORECASE)


def parse_mlsd(lines: list[str]) -> list[Entry]:
    """Return the files and folders of an MLSD answer, without the folder itself and its parent."""
    entries = []
    for line in lines:
        facts, _, name = line.partition(" ")
        pairs = dict(fact.lower().partition("=")[::2] for fact in facts.split(";") if fact)
        kind = pairs.get("type", "")
        if kind in ("file", "dir") and name:
            size = pairs.get("size", "")
            entries.append(Entry(name, kind == "dir", int(size) if size.isdecimal() else None))
    return entries


def parse_list(lines: list[str]) -> list[Entry]:
    """Return the files and folders of a LIST answer in Unix or Windows style; UnknownListing."""
    entries = []
    for line in lines:
        text = line.rstrip("\r\n")
        if unix := _UNIX.fullmatch(text):
            if unix["type"] in "-d":
                entries.append(Entry(unix["name"], unix["type"] == "d", int(unix["size"])))
        elif windows := _WINDOWS.fullmatch(text):
            what = windows["what"]
            if what == "<DIR>":
                entries.append(Entry(windows["name"], True, None))
            elif not what.startswith("<"):
                entries.append(Entry(windows["name"], False, int(what.replace(",", "").replace(".", ""))))
        elif not _NOISE.fullmatch(text):
            raise UnknownListing(text[:200])
    return [entry for entry in entries if entry.name not in (".", "..")]

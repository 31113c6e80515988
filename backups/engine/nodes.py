"""The node of a file from what a backup has at hand; natively where it was built, otherwise in Python."""

from __future__ import annotations

from typing import Any

from backups.engine.names import name_json
from backups.engine.native import load
from backups.engine.times import TimeFormatter
from backups.engine.tree import encode_file_node

_native: Any = getattr(load("backups.engine._nodes"), "file_node", None)


def file_node(
    zone: TimeFormatter,
    name: bytes,
    mode: int,
    mtime: int,
    ctime: int,
    owner: str,
    inode: int,
    device: int,
    size: int,
    links: int,
    content: bytes,
    xattrs: str,
) -> bytes:
    """Return the node of a regular file; called once a file.

    ``name`` is raw, ``mode`` Go's, times are instants to be written in ``zone``, ``owner`` and ``xattrs`` are JSON
    as ``tree`` makes it, ``content`` is the 32-byte ids of its blobs, joined.
    """
    if _native is not None:
        before = 0 if zone.is_utc else zone.offset(mtime)
        after = 0 if zone.is_utc else zone.offset(ctime)
        try:
            node: bytes | None = _native(
                name, mode, mtime, before, ctime, after, owner, inode, device, size, links, content, xattrs
            )
        except OverflowError:
            node = None
        if node is not None:
            return node
    ids = [content[at : at + 32].hex() for at in range(0, len(content), 32)]
    times = zone.format(mtime), zone.format(ctime)
    return encode_file_node(name_json(name), mode, *times, owner, inode, device, size, links, ids, xattrs)

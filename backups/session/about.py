"""What a snapshot says of the account it was made of: its file ``account.json``, which may be a stranger's words."""

from __future__ import annotations

import msgspec

from backups.engine.blob import BlobType
from backups.engine.errors import BadRequest, Corrupt
from backups.engine.repository import Repository
from backups.engine.tree_path import find_node
from backups.session.events import say
from backups.session.items import COMPLETE, snapshot_of
from backups.session.spec import About

_LARGEST = 256 << 10
_LONGEST_NAME = 60


class _Account(msgspec.Struct):
    package: str = ""


_decode = msgspec.json.Decoder(_Account).decode


def run_about(repository: Repository, command: About) -> int:
    """Say the name of the package that the account had; empty where the snapshot says none."""
    say("about", command.item, package=package_of(repository, snapshot_of(repository, command.snapshot).tree))
    return COMPLETE


def package_of(repository: Repository, tree: str) -> str:
    """Return the name of the package in the root folder's ``account.json``.  Corrupt for one that is none."""
    try:
        node = find_node(repository, tree, b"account.json")
    except BadRequest:
        return ""
    if node is None or node.type != "file" or not node.content:
        return ""
    if node.size > _LARGEST:
        raise Corrupt("the account.json of the snapshot is too large to be one")
    data = bytearray()
    for blob in node.content:
        data += repository.load_blob(BlobType.DATA, bytes.fromhex(str(blob)))
        if len(data) > _LARGEST:
            raise Corrupt("the account.json of the snapshot is too large to be one")
    try:
        return _decode(bytes(data)).package[:_LONGEST_NAME]
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Corrupt("the account.json of the snapshot cannot be read") from None

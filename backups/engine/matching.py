"""A folder against its tree in the parent snapshot, without decoding the tree.

What would be written for an unchanged item are the very bytes that stand there, so the items are encoded from their
listing and compared with the tree's JSON one after the other.  The first that differs ends it: then the tree is decoded
and gone through by name.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Callable, Sequence

from backups.engine.names import name_json
from backups.engine.ports import Entry

_HEAD, _TAIL = b'{"nodes":[', b"]}\n"
_CONTENT, _NO_CONTENT = b',"content":[', b',"content":[]}'
_ATTRIBUTES, _NO_TEXT = b',"extended_attributes":[', (b"\\ufffd", "\ufffd".encode())
_SUBTREE = b',"subtree":"'
_NODE_OF_FOLDER = b'{"name":%b,"type":"dir",'
_COMMA = ord(",")
_ID = 64
"""Characters of an id."""

Encode = Callable[[Entry], bytes | None]


Span = tuple[int, int, str]
"""Where the node of an item starts and stops in the tree, and the id of a folder's own tree, else ``""``."""


class _Differs(Exception):
    """Something is not what it was."""


class Matcher:
    """Compares folders with trees.

    ``file_node`` encodes a file without content or attributes, ``special_node`` what is neither file nor folder (None
    if it cannot); ``has(0, id)`` tells whether a data blob is stored.
    """

    def __init__(self, file_node: Encode, special_node: Encode, has: Callable[[int, bytes], bool]) -> None:
        self._file_node, self._special_node, self._has = file_node, special_node, has

    def match(self, tree: bytes, entries: Sequence[Entry]) -> list[Span] | None:
        """Return a span for each item if all of them but the folders are just as ``tree`` has them, else None.

        Of a folder only the name is compared.  The change time of a file stands for its extended attributes too: the
        kernel sets it with every change of them.
        """
        if not tree.startswith(_HEAD):
            return None
        spans: list[Span] = []
        at = len(_HEAD)
        try:
            for entry in entries:
                if spans:
                    if tree[at] != _COMMA:
                        return None
                    at += 1
                kind = entry.kind
                subtree = ""
                if kind == "file":
                    stop = self._file(tree, at, entry)
                elif kind == "dir":
                    stop, subtree = _folder(tree, at, entry)
                else:
                    stop = self._special(tree, at, entry)
                spans.append((at, stop, subtree))
                at = stop
        except (_Differs, ValueError, IndexError):
            return None
        return spans if tree[at:] == _TAIL else None

    def _file(self, tree: bytes, at: int, entry: Entry) -> int:
        node = self._file_node(entry)
        if node is None:
            raise _Differs
        # The usual file has no attributes and goes on with its content right away.
        if tree.startswith(node[:-2], at):
            start = at + len(node) - 2
        elif tree.startswith(node[: -len(_NO_CONTENT)], at):
            start = _content(tree, at + len(node) - len(_NO_CONTENT))
        else:
            raise _Differs
        stop = tree.find(b"]}", start)
        if stop < 0 or (stop > start) != (entry.size > 0):
            raise _Differs
        if stop - start == _ID + 2:
            if not self._has(0, unhexlify(tree[start + 1 : stop - 1])):
                raise _Differs
            return stop + 2
        for quoted in tree[start:stop].split(b",") if entry.size else ():
            if len(quoted) != _ID + 2 or not self._has(0, unhexlify(quoted[1:-1])):
                raise _Differs
        return stop + 2

    def _special(self, tree: bytes, at: int, entry: Entry) -> int:
        node = self._special_node(entry)
        if node is None or not tree.startswith(node, at):
            raise _Differs
        return at + len(node)


def _content(tree: bytes, at: int) -> int:
    """Return where the ids of a file's blobs begin, past its attributes."""
    if tree.startswith(_ATTRIBUTES, at):
        after = tree.find(b"]" + _CONTENT, at) + 1
        # A name that is not text was stored as something else; only the file itself still has it.
        if not after or any(sign in tree[at:after] for sign in _NO_TEXT):
            raise _Differs
        at = after
    if not tree.startswith(_CONTENT, at):
        raise _Differs
    return at + len(_CONTENT)


def _folder(tree: bytes, at: int, entry: Entry) -> tuple[int, str]:
    if not tree.startswith(_NODE_OF_FOLDER % name_json(entry.name), at):
        raise _Differs
    start = tree.find(_SUBTREE, at) + len(_SUBTREE)
    stop = start + _ID
    if start < at + len(_SUBTREE) or tree[stop : stop + 2] != b'"}':
        raise _Differs
    return stop + 2, tree[start:stop].decode("ascii")

"""Directories as the repository stores them: a tree is the JSON list of its nodes, reproduced byte for byte.

Two identical directories share one tree only if the bytes agree, so field order, omissions and escapes here are the
format.  Nothing read from a tree is trusted: ``decode_tree`` raises ``Corrupt`` for whatever no writer makes.
"""

from __future__ import annotations

import base64
import functools
import stat
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec

from backups.engine.errors import Corrupt
from backups.engine.names import json_string, unquote_name

EMPTY_TREE = b'{"nodes":[]}\n'
ZERO_TIME = "0001-01-01T00:00:00Z"
MAX_TREE = 2**32 - 1
"""Bytes of the largest tree the format can hold."""
MOST_NODES = 1_500_000
"""Objects in the JSON of one tree; the largest tree a reader takes has a million honest ones."""

FILE, DIR, SYMLINK, BLOCK, CHAR, FIFO, SOCKET = "file", "dir", "symlink", "dev", "chardev", "fifo", "socket"
"""The types of a node."""

_GO_DIR, _GO_SYMLINK, _GO_DEVICE, _GO_FIFO, _GO_SOCKET = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24
_GO_SETUID, _GO_SETGID, _GO_CHAR, _GO_STICKY, _GO_IRREGULAR = 1 << 23, 1 << 22, 1 << 21, 1 << 20, 1 << 19
_GO_KINDS = {
    stat.S_IFREG: 0,
    stat.S_IFDIR: _GO_DIR,
    stat.S_IFLNK: _GO_SYMLINK,
    stat.S_IFBLK: _GO_DEVICE,
    stat.S_IFCHR: _GO_DEVICE | _GO_CHAR,
    stat.S_IFIFO: _GO_FIFO,
    stat.S_IFSOCK: _GO_SOCKET,
}
_UNIX_KINDS = {bits: kind for kind, bits in _GO_KINDS.items()}
_GO_SPECIALS = ((stat.S_ISUID, _GO_SETUID), (stat.S_ISGID, _GO_SETGID), (stat.S_ISVTX, _GO_STICKY))
_NO_NAMES = frozenset(("", ".", ".."))

_U32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_U64 = Annotated[int, msgspec.Meta(ge=0)]  # the upper bound is beyond what msgspec can say; decode_tree checks it
_Id = Annotated[str, msgspec.Meta(min_length=64, max_length=64)]


class ExtendedAttribute(msgspec.Struct, frozen=True, gc=False):
    """One extended attribute; ``value`` is ``None`` where the kernel named it but gave no value."""

    name: str
    value: bytes | None = None


class Node(msgspec.Struct, gc=False):
    """One directory entry as stored.

    ``name`` is the quoted text, times are RFC 3339 texts, ``mode`` is Go's: see ``raw_name``, ``times.parse_time`` and
    ``unix_mode``.  ``content`` is ``None`` for everything but files.
    """

    name: str
    type: str
    mode: _U32 = 0
    mtime: str = ZERO_TIME
    atime: str = ZERO_TIME
    ctime: str = ZERO_TIME
    uid: _U32 = 0
    gid: _U32 = 0
    user: str = ""
    group: str = ""
    inode: _U64 = 0
    device_id: _U64 = 0
    size: _U64 = 0
    links: _U64 = 0
    linktarget: str = ""
    linktarget_raw: bytes | None = None
    extended_attributes: list[ExtendedAttribute] | None = None
    generic_attributes: msgspec.Raw = msgspec.Raw()
    device: _U64 = 0
    content: list[_Id] | None = None
    subtree: _Id | None = None
    error: str = ""

    @property
    def raw_name(self) -> bytes:
        """The name's bytes.  Raises ``Corrupt``."""
        return unquote_name(self.name)

    @property
    def raw_target(self) -> bytes:
        """The bytes a symlink points to."""
        return self.linktarget.encode() if self.linktarget_raw is None else self.linktarget_raw


class _Tree(msgspec.Struct, gc=False):
    nodes: list[Node]


_decode = msgspec.json.Decoder(_Tree).decode


def decode_tree(data: bytes, *, check_names: bool = True) -> list[Node]:
    """The nodes of a tree, in stored order.

    Raises ``Corrupt`` for malformed JSON, values out of range, malformed ids and, unless ``check_names`` is off (for
    repair, which drops such nodes itself), names that could leave the directory.
    """
    if len(data) > MAX_TREE:
        raise Corrupt("a tree beyond the format's size limit", kind="tree")
    if data.count(b"{") > MOST_NODES:
        raise Corrupt("a tree of more items than any folder has", kind="tree")
    try:
        nodes = _decode(data).nodes
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(f"not a tree: {error}", kind="tree") from None
    ids: list[str] = []
    for node in nodes:
        if node.content:
            ids += node.content
        if node.subtree is not None:
            ids.append(node.subtree)
        if (node.size | node.inode | node.device_id | node.links | node.device) >> 64:
            raise Corrupt(f"a number out of range in node {node.name[:80]!a}", kind="tree")
    _check_ids(ids)
    if check_names:
        _check_names(nodes, escapes=b"\\" in data)
    return nodes


def _check_names(nodes: list[Node], escapes: bool) -> None:
    """Without an escape anywhere in the tree, the usual case, no name holds a quote or a control character."""
    for node in nodes:
        name = node.name
        if escapes or "/" in name or name in _NO_NAMES:
            safe_name(unquote_name(name))


def safe_name(raw: bytes) -> bytes:
    """The raw name itself if it names an entry of its own directory; raises ``Corrupt`` for all others."""
    if raw in (b"", b".", b"..") or b"/" in raw or b"\0" in raw:
        raise Corrupt(f"a node has the impossible name {raw[:80]!r}", kind="tree")
    return raw


def _check_ids(ids: list[str]) -> None:
    try:
        if len(bytes.fromhex("".join(ids))) == 32 * len(ids):
            return
    except ValueError:
        pass
    raise Corrupt("an id in a tree is not hexadecimal", kind="tree")


@functools.lru_cache(maxsize=1 << 16)
def go_mode(st_mode: int) -> int:
    """Go's ``os.FileMode`` for a ``st_mode``."""
    mode = st_mode & 0o777 | _GO_KINDS.get(stat.S_IFMT(st_mode), _GO_IRREGULAR)
    for unix_bit, go_bit in _GO_SPECIALS:
        if st_mode & unix_bit:
            mode |= go_bit
    return mode


def unix_mode(mode: int) -> int:
    """The ``st_mode`` for Go's ``os.FileMode``; the type bits are 0 for an irregular file."""
    kind = mode & (_GO_DIR | _GO_SYMLINK | _GO_DEVICE | _GO_CHAR | _GO_FIFO | _GO_SOCKET | _GO_IRREGULAR)
    st_mode = mode & 0o777 | _UNIX_KINDS.get(kind, 0)
    for unix_bit, go_bit in _GO_SPECIALS:
        if mode & go_bit:
            st_mode |= unix_bit
    return st_mode


@functools.lru_cache(maxsize=4096)
def owner_json(uid: int, gid: int, user: str, group: str) -> str:
    """The four owner fields of a node as they stand in it.  Empty names are left out."""
    text = f'"uid":{uid},"gid":{gid}'
    if user:
        text += f',"user":{json_string(user).decode()}'
    if group:
        text += f',"group":{json_string(group).decode()}'
    return text


def xattrs_json(attributes: Iterable[tuple[bytes | str, bytes | None]]) -> str:
    """Extended attributes as they stand in a node, comma first, in the order given; empty if there are none."""
    texts = [f'{{"name":{json_string(name).decode()},"value":{_base64(value)}}}' for name, value in attributes]
    return f',"extended_attributes":[{",".join(texts)}]' if texts else ""


def _base64(value: bytes | None) -> str:
    return "null" if value is None else f'"{base64.b64encode(value).decode()}"'


def encode_file_node(
    name: bytes,
    mode: int,
    mtime: str,
    ctime: str,
    owner: str,
    inode: int,
    device_id: int,
    size: int,
    links: int,
    content: Sequence[str],
    xattrs: str = "",
    atime: str = "",
) -> bytes:
    """A regular file; called once a file.

    ``name`` comes from ``names.name_json``, ``owner`` from ``owner_json``, ``xattrs`` from ``xattrs_json``, ``mode``
    from ``go_mode``, times from ``TimeFormatter.format``; without ``atime`` the modification time stands for it.
    """
    ids = f'["{content[0]}"]' if len(content) == 1 else '["' + '","'.join(content) + '"]' if content else "[]"
    if mode and inode and device_id and size and links:
        return (
            f'{{"name":{name.decode()},"type":"file","mode":{mode},"mtime":"{mtime}","atime":"{atime or mtime}",'
            f'"ctime":"{ctime}",{owner},"inode":{inode},"device_id":{device_id},"size":{size},"links":{links}{xattrs},'
            f'"content":{ids}}}'
        ).encode()
    common = _common(name, FILE, mode, mtime, atime or mtime, ctime, owner, inode, device_id, size, links)
    return f'{common}{xattrs},"content":{ids}}}'.encode()


def encode_dir_node(
    name: bytes,
    mode: int,
    mtime: str,
    ctime: str,
    owner: str,
    inode: int,
    device_id: int,
    subtree: str,
    xattrs: str = "",
    atime: str = "",
) -> bytes:
    """A directory whose tree is ``subtree``.  Arguments as in ``encode_file_node``."""
    common = _common(name, DIR, mode, mtime, atime or mtime, ctime, owner, inode, device_id, 0, 0)
    return f'{common}{xattrs},"content":null,"subtree":"{subtree}"}}'.encode()


def encode_special_node(
    name: bytes,
    kind: str,
    mode: int,
    mtime: str,
    ctime: str,
    owner: str,
    inode: int,
    device_id: int,
    links: int = 0,
    target: bytes | None = None,
    device: int = 0,
    xattrs: str = "",
    atime: str = "",
) -> bytes:
    """Anything but a file or a directory: ``target`` for symlinks, ``device`` for devices, ``links`` not for fifos."""
    common = _common(name, kind, mode, mtime, atime or mtime, ctime, owner, inode, device_id, 0, links)
    return f'{common}{_link_json(target)}{xattrs}{_number("device", device)},"content":null}}'.encode()


def encode_node(node: Node) -> bytes:
    """Any node, as decoded or built: all fields are written as they are."""
    common = _common(
        json_string(node.name),
        _text(node.type)[1:-1],
        node.mode,
        _text(node.mtime)[1:-1],
        _text(node.atime)[1:-1],
        _text(node.ctime)[1:-1],
        owner_json(node.uid, node.gid, node.user, node.group),
        node.inode,
        node.device_id,
        node.size,
        node.links,
    )
    link = node.linktarget if node.linktarget_raw is None else node.linktarget_raw
    pieces = [common, _link_json(link)]
    if node.extended_attributes:
        pieces.append(xattrs_json((attribute.name, attribute.value) for attribute in node.extended_attributes))
    generic = bytes(node.generic_attributes).decode()
    if generic not in ("", "null"):
        pieces.append(f',"generic_attributes":{generic}')
    pieces.append(_number("device", node.device))
    pieces.append(',"content":' + ("null" if node.content is None else msgspec.json.encode(node.content).decode()))
    if node.subtree is not None:
        pieces.append(f',"subtree":"{node.subtree}"')
    if node.error:
        pieces.append(f',"error":{_text(node.error)}')
    pieces.append("}")
    return "".join(pieces).encode()


def encode_tree(nodes: Sequence[bytes]) -> bytes:
    """A tree of encoded nodes, which the caller has sorted by the bytes of their raw names."""
    return b'{"nodes":[%b]}\n' % b",".join(nodes)


def reencodes_identically(data: bytes) -> bool:
    """Whether decoding and encoding gives the same bytes: only then may a tree be changed without losing anything."""
    try:
        nodes = decode_tree(data)
    except Corrupt:
        return False
    return encode_tree([encode_node(node) for node in nodes]) == data


def _text(text: str) -> str:
    return json_string(text).decode()


def _number(key: str, value: int) -> str:
    return f',"{key}":{value}' if value else ""


def _link_json(target: bytes | str | None) -> str:
    if not target:
        return ""
    text = f',"linktarget":{json_string(target).decode()}'
    if isinstance(target, bytes):
        try:
            target.decode()
        except UnicodeDecodeError:
            text += f',"linktarget_raw":{_base64(target)}'
    return text


def _common(
    name: bytes,
    kind: str,
    mode: int,
    mtime: str,
    atime: str,
    ctime: str,
    owner: str,
    inode: int,
    device_id: int,
    size: int,
    links: int,
) -> str:
    return (
        f'{{"name":{name.decode()},"type":"{kind}"{_number("mode", mode)},"mtime":"{mtime}","atime":"{atime}",'
        f'"ctime":"{ctime}",{owner}{_number("inode", inode)}{_number("device_id", device_id)}{_number("size", size)}'
        f"{_number('links', links)}"
    )

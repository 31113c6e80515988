"""One process's part of a backup: folders to trees, files to blobs.

Works on its own folders with its own packs; what another process does reaches it only through the
claims they share.
"""

from __future__ import annotations

import grp
import pwd
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import NamedTuple

import msgspec

from backups.engine.blob import BlobType
from backups.engine.chunker import MIN_SIZE
from backups.engine.errors import Corrupt, SourceProblem
from backups.engine.known import Known
from backups.engine.names import name_json, quote_name
from backups.engine.packer import PackWriter
from backups.engine.ports import CancelToken, Entry, SourceFile, SourceFolder
from backups.engine.repository import Repository
from backups.engine.times import TimeFormatter, parse_time
from backups.engine.tree import (
    Node,
    decode_tree,
    encode_dir_node,
    encode_file_node,
    encode_special_node,
    encode_tree,
    go_mode,
    owner_json,
    xattrs_json,
)
from destinations.storage.errors import StoreError

BLOCK = 4 * 1024 * 1024
"""Bytes read from a large file at a time."""

Problem = Callable[[bytes, Exception], None]


class Counts(msgspec.Struct):
    """What was seen and stored; the fields of a snapshot's summary.  Sizes in bytes."""

    files_new: int = 0
    files_changed: int = 0
    files_unmodified: int = 0
    dirs_new: int = 0
    dirs_changed: int = 0
    dirs_unmodified: int = 0
    data_blobs: int = 0
    tree_blobs: int = 0
    data_added: int = 0
    data_added_packed: int = 0
    total_files_processed: int = 0
    total_bytes_processed: int = 0

    def add(self, other: Counts) -> None:
        """Add another's figures to these."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class OldTree(NamedTuple):
    """A folder as the parent snapshot has it."""

    raw: bytes
    nodes: dict[str, Node]
    id: str


_NOTHING = OldTree(b"", {}, "")


class _Owner(NamedTuple):
    json: str
    user: str
    group: str


class _Kept(NamedTuple):
    """A file that need not be read.  ``identical``: its node is what it was, to the byte."""

    entry: Entry
    old: Node
    identical: bool


class _Stored(NamedTuple):
    blob_id: bytes
    sealed: bytes | None
    plain_size: int
    size: int


class Saver:
    """Saves folders and files of a source into a repository.

    ``on_progress(files, bytes, path)`` gets what was added since the last call; ``problem`` every item that is
    left out or doubtful.
    """

    def __init__(
        self,
        repository: Repository,
        known: Known,
        packer: PackWriter,
        *,
        zone: str | None,
        cancel: CancelToken,
        problem: Problem,
        on_progress: Callable[[int, int, bytes], None],
        threads: int = 2,
    ) -> None:
        self.counts = Counts()
        self._repository = repository
        self._known = known
        self._packer = packer
        self._format = TimeFormatter(zone).format
        self._cancel = cancel
        self._problem = problem
        self._on_progress = on_progress
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None
        self._owners: dict[tuple[int, int, bool], _Owner] = {}
        self._has = known.has

    def close(self) -> None:
        """Stop the threads."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    # ------------------------------------------------------------------ folders

    def old_tree(self, tree_id: str | None) -> OldTree:
        """Return a tree of the parent snapshot; an unreadable one counts as none, so its files are read again."""
        if not tree_id:
            return _NOTHING
        try:
            raw = self._repository.load_tree(tree_id)
            return OldTree(raw, {node.name: node for node in decode_tree(raw)}, tree_id)
        except (Corrupt, StoreError):
            return _NOTHING

    def folder_tree(self, folder: SourceFolder, path: bytes, old_id: str | None) -> str:
        """Save everything below a folder and return the id of its tree.  SourceProblem if it cannot be listed."""
        try:
            entries = folder.entries()
        except OSError as error:
            raise SourceProblem(error.strerror or str(error)) from error
        old = self.old_tree(old_id)
        same = len(entries) == len(old.nodes)
        lookup = old.nodes.get
        nodes: list[_Kept | bytes] = []
        prefix = path + b"/"
        for entry in entries:
            before = lookup(quote_name(entry.name))
            item = None
            if before is not None:
                item = self.kept(entry, before)
                if item is not None:
                    nodes.append(item)
                    same = same and item.identical
                    continue
            node = self.node(folder, entry, prefix + entry.name, before)
            if node is not None:
                nodes.append(node)
                same = same and before is not None and before.type == "dir"
            else:
                same = False
        if self._cancel.is_set:
            self._cancel.check()
        if same and old.id and all(type(node) is _Kept for node in nodes):
            return old.id
        return self.save_tree([self.encode_kept(node) if isinstance(node, _Kept) else node for node in nodes], old)

    def node(self, folder: SourceFolder, entry: Entry, path: bytes, old: Node | None) -> bytes | None:
        """Save one item with all below it and return its node, or None if it had to be left out."""
        if entry.kind == "file":
            return self.file_node(folder, entry, path, old)
        if entry.kind == "dir":
            return self.dir_node(folder, entry, path, old)
        return self.special_node(folder, entry, path)

    def dir_node(self, folder: SourceFolder, entry: Entry, path: bytes, old: Node | None) -> bytes | None:
        """Save a folder with all below it and return its node."""
        old_id = old.subtree if old is not None and old.type == "dir" else None
        try:
            inner = folder.enter(entry)
        except (OSError, SourceProblem) as error:
            self._problem(path, error)
            return None
        try:
            tree_id = self.folder_tree(inner, path, old_id)
        except SourceProblem as error:
            self._problem(path, error)
            return None
        finally:
            inner.close()
        return self.encode_dir(inner.entry, tree_id, old_id)

    def encode_dir(self, entry: Entry, tree_id: str, old_id: str | None) -> bytes:
        """Return the node of a folder whose tree is stored, and count it."""
        if old_id is None:
            self.counts.dirs_new += 1
        elif old_id == tree_id:
            self.counts.dirs_unmodified += 1
        else:
            self.counts.dirs_changed += 1
        return encode_dir_node(
            name_json(entry.name),
            go_mode(entry.mode),
            self._format(entry.mtime),
            self._format(entry.ctime),
            self._owner(entry).json,
            entry.inode,
            entry.device,
            tree_id,
            xattrs_json(entry.xattrs) if entry.xattrs else "",
        )

    def save_tree(self, nodes: list[bytes], old: OldTree = _NOTHING) -> str:
        """Store a tree unless it is known, and return its id."""
        data = encode_tree(nodes)
        if data == old.raw:
            return old.id
        blob_id = sha256(data).digest()
        if self._known.claim(BlobType.TREE, blob_id):
            self.counts.tree_blobs += 1
            self.counts.data_added += len(data)
            self.counts.data_added_packed += self._packer.add(BlobType.TREE, blob_id, data)
        return blob_id.hex()

    def special_node(self, folder: SourceFolder, entry: Entry, path: bytes) -> bytes | None:
        """Return the node of a link, device or pipe, or None if it had to be left out."""
        try:
            xattrs = folder.xattrs(entry)
        except OSError as error:
            self._problem(path, error)
            return None
        return encode_special_node(
            name_json(entry.name),
            entry.kind,
            go_mode(entry.mode),
            self._format(entry.mtime),
            self._format(entry.ctime),
            self._owner(entry).json,
            entry.inode,
            entry.device,
            entry.links if entry.kind != "fifo" else 0,
            entry.target if entry.kind == "symlink" else None,
            entry.rdev if entry.kind in ("dev", "chardev") else 0,
            xattrs_json(xattrs) if xattrs else "",
        )

    def _owner(self, entry: Entry) -> _Owner:
        key = (entry.uid, entry.gid, entry.named)
        owner = self._owners.get(key)
        if owner is None:
            user, group = (_user_name(entry.uid), _group_name(entry.gid)) if entry.named else ("", "")
            owner = self._owners[key] = _Owner(owner_json(entry.uid, entry.gid, user, group), user, group)
        return owner

    # ------------------------------------------------------------------ files

    def kept(self, entry: Entry, old: Node) -> _Kept | None:
        """Return a file that is as the parent snapshot has it and wholly stored, else None.

        The change time stands for the extended attributes too: the kernel sets it with every change of them.
        """
        content = old.content
        if content is None or old.size != entry.size or old.inode != entry.inode or entry.kind != "file":
            return None
        attributes = old.extended_attributes
        if attributes and any("\ufffd" in attribute.name for attribute in attributes):
            return None  # a name that is not text was stored as something else; only the file itself still has it
        mtime, ctime = self._format(entry.mtime), self._format(entry.ctime)
        in_zone = old.ctime == ctime and old.mtime == mtime
        if not in_zone and (parse_time(old.ctime) != entry.ctime or parse_time(old.mtime) != entry.mtime):
            return None
        has = self._has
        for blob_id in content:
            if not has(0, bytes.fromhex(blob_id)):
                return None
        owner = self._owner(entry)
        identical = (
            in_zone
            and old.mode == go_mode(entry.mode)
            and old.uid == entry.uid
            and old.gid == entry.gid
            and old.links == entry.links
            and old.device_id == entry.device
            and old.user == owner.user
            and old.group == owner.group
            and old.atime == mtime
            and old.type == "file"
        )
        counts = self.counts
        counts.files_unmodified += 1
        counts.total_files_processed += 1
        counts.total_bytes_processed += entry.size
        self._on_progress(1, entry.size, entry.name)
        return _Kept(entry, old, identical)

    def encode_kept(self, kept: _Kept) -> bytes:
        """Return the node of an unchanged file: its metadata as it is now, its content as it was."""
        entry, old = kept.entry, kept.old
        attributes = old.extended_attributes
        return self._encode(entry, old.content or [], entry.size, [(a.name, a.value) for a in attributes or ()])

    def file_node(self, folder: SourceFolder, entry: Entry, path: bytes, old: Node | None) -> bytes | None:
        """Read a file unless it is unchanged; return its node, or None if it had to be left out."""
        kept = self.kept(entry, old) if old is not None else None
        if kept is not None:
            return self.encode_kept(kept)
        if 0 < entry.size < MIN_SIZE:
            try:
                small = folder.slurp(entry, MIN_SIZE)
            except (OSError, SourceProblem) as error:
                self._problem(path, error)
                return None
            if small is not None:
                entry, data = small
                return self._file_done(entry, path, old, [self._save_small(data)], len(data))
        try:
            file = folder.open(entry)
        except (OSError, SourceProblem) as error:
            self._problem(path, error)
            return None
        try:
            try:
                content, size = self.save_file(file)
                changed = file.changed()
            finally:
                file.close()
        except SourceProblem as error:
            self._problem(path, error)
            return None
        if changed:
            self._problem(path, SourceProblem("changed while it was read; what is stored may mix two states"))
        return self._file_done(file.entry, path, old, content, size)

    def _file_done(self, entry: Entry, path: bytes, old: Node | None, content: list[str], size: int) -> bytes:
        """Count a file that was read, and return its node."""
        counts = self.counts
        if old is not None and old.type == "file":
            counts.files_changed += 1
        else:
            counts.files_new += 1
        counts.total_files_processed += 1
        counts.total_bytes_processed += size
        self._on_progress(1, size, path)
        return self._encode(entry, content, size, entry.xattrs)

    def _encode(
        self, entry: Entry, content: list[str], size: int, xattrs: Sequence[tuple[bytes | str, bytes | None]]
    ) -> bytes:
        return encode_file_node(
            name_json(entry.name),
            go_mode(entry.mode),
            self._format(entry.mtime),
            self._format(entry.ctime),
            self._owner(entry).json,
            entry.inode,
            entry.device,
            size,
            entry.links,
            content,
            xattrs_json(xattrs) if xattrs else "",
        )

    def save_file(self, file: SourceFile) -> tuple[list[str], int]:
        """Store the content of an open file; return the ids of its blobs and its size in bytes."""
        expected = file.entry.size
        if expected >= MIN_SIZE:
            return self._save_large(file, b"")
        data = _read(file, expected + 1 if expected else 65536)
        if len(data) != expected:
            more = _read(file, 65536) if data else b""
            while more and len(data) < MIN_SIZE:
                data += more
                more = _read(file, 65536)
            if more:
                return self._save_large(file, data + more)
        if not data:
            return [], 0
        return [self._save_small(data)], len(data)

    def _save_small(self, data: bytes) -> str:
        blob_id = sha256(data).digest()
        if self._known.claim(BlobType.DATA, blob_id):
            self._count(len(data), self._packer.add(BlobType.DATA, blob_id, data))
        return blob_id.hex()

    def _save_large(self, file: SourceFile, head: bytes) -> tuple[list[str], int]:
        """Chunk a stream; threads hash, compress and seal the chunks while the next ones are cut."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="seal")
        ids: list[str] = []
        total = 0
        under_way: deque[Future[_Stored]] = deque()
        try:
            for chunk in self._chunks(file, head):
                total += len(chunk)
                under_way.append(self._executor.submit(self._seal_chunk, chunk))
                del chunk
                while len(under_way) > self._threads + 1:
                    ids.append(self._take(under_way.popleft().result()))
                if self._cancel.is_set:
                    self._cancel.check()
            while under_way:
                ids.append(self._take(under_way.popleft().result()))
        finally:
            # What was claimed must be stored, even if the rest of the file cannot be read: others may refer to it.
            for future in under_way:
                if not future.cancel():
                    self._take(future.result())
        return ids, total

    def _chunks(self, file: SourceFile, head: bytes) -> Iterator[bytes]:
        next_cut = self._repository.chunker.next_cut
        carry = head
        seen = 0
        while True:
            block, final = _read_block(file)
            data = carry + block if carry else block
            del block
            view = memoryview(data)
            start, stop = 0, len(data)
            while start < stop and (cut := next_cut(view, start, stop, final=final, seen=seen)) >= 0:
                yield bytes(view[start:cut])
                start = cut
                seen = 0
            if final:
                return
            carry = bytes(view[start:])
            seen = len(carry)

    def _seal_chunk(self, chunk: bytes) -> _Stored:
        blob_id = sha256(chunk).digest()
        size = len(chunk)
        if not self._known.claim(BlobType.DATA, blob_id):
            return _Stored(blob_id, None, 0, size)
        sealed, plain_size = self._packer.seal(BlobType.DATA, chunk)
        return _Stored(blob_id, sealed, plain_size, size)

    def _take(self, stored: _Stored) -> str:
        if stored.sealed is not None:
            packed = self._packer.add_sealed(BlobType.DATA, stored.blob_id, stored.sealed, stored.plain_size)
            self._count(stored.size, packed)
        self._on_progress(0, 0, b"")
        return stored.blob_id.hex()

    def _count(self, plain: int, packed: int) -> None:
        self.counts.data_blobs += 1
        self.counts.data_added += plain
        self.counts.data_added_packed += packed


def _read_block(file: SourceFile) -> tuple[bytes, bool]:
    """Return the next block and whether the file ends with it; a pipe's small pieces are joined."""
    first = _read(file, BLOCK)
    if len(first) == BLOCK:
        return first, False
    pieces, have = [first], len(first)
    while have < BLOCK:
        piece = _read(file, BLOCK - have)
        if not piece:
            return b"".join(pieces) if len(pieces) > 1 else first, True
        pieces.append(piece)
        have += len(piece)
    return b"".join(pieces), False


def _read(file: SourceFile, size: int) -> bytes:
    """Read; what fails here, and only here, is the source's fault and costs one item."""
    try:
        return file.read(size)
    except OSError as error:
        raise SourceProblem(error.strerror or str(error)) from error


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return ""


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return ""

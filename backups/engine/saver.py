"""One process's part of a backup: folders to trees, files to blobs.

Works on its own folders with its own packs; what another process does reaches it only through the
claims they share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec

from backups.engine.blob import BlobType
from backups.engine.chunker import MIN_SIZE
from backups.engine.errors import Corrupt, SourceProblem
from backups.engine.known import Known
from backups.engine.large import LargeFiles, read_from
from backups.engine.names import name_json, quote_name
from backups.engine.nodes import file_node
from backups.engine.owners import Owners
from backups.engine.packer import PackWriter
from backups.engine.ports import CancelToken, Entry, SourceFile, SourceFolder
from backups.engine.repository import Repository
from backups.engine.times import TimeFormatter, parse_time
from backups.engine.tree import (
    Node,
    decode_tree,
    encode_dir_node,
    encode_special_node,
    encode_tree,
    go_mode,
    xattrs_json,
)
from destinations.storage.errors import StoreError

Problem = Callable[[bytes, Exception], None]
_DATA, _TREE = BlobType.DATA, BlobType.TREE


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


class _Kept(NamedTuple):
    """A file that need not be read.  ``identical``: its node is what it was, to the byte."""

    entry: Entry
    old: Node
    identical: bool


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
        self._zone = TimeFormatter(zone)
        self._format = self._zone.format
        self._cancel = cancel
        self._problem = problem
        self._on_progress = on_progress
        self._owner_of = Owners().of
        self._has = known.has
        self._claim, self._add = known.claim, packer.add
        self._large = LargeFiles(
            repository.chunker,
            known,
            packer,
            threads=threads,
            cancel=cancel,
            count=self._count,
            alive=lambda: on_progress(0, 0, b""),
        )

    def close(self) -> None:
        """Stop the threads."""
        self._large.close()

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
        if old.nodes:
            nodes, same = self._items(folder, path + b"/", entries, old.nodes)
        else:
            prefix, same = path + b"/", False
            fresh = [self.node(folder, entry, prefix + entry.name, None) for entry in entries]
            nodes = [node for node in fresh if node is not None]
        if self._cancel.is_set:
            self._cancel.check()
        if same and all(type(node) is _Kept for node in nodes):
            return old.id
        return self.save_tree([self.encode_kept(node) if isinstance(node, _Kept) else node for node in nodes], old)

    def _items(
        self, folder: SourceFolder, prefix: bytes, entries: list[Entry], before: dict[str, Node]
    ) -> tuple[list[_Kept | bytes], bool]:
        """Save the items of a folder that the parent snapshot has; tell whether all may be as they were."""
        same = len(entries) == len(before)
        lookup = before.get
        nodes: list[_Kept | bytes] = []
        for entry in entries:
            old = lookup(quote_name(entry.name))
            item = self.kept(entry, old) if old is not None else None
            if item is not None:
                nodes.append(item)
                same = same and item.identical
                continue
            node = self.node(folder, entry, prefix + entry.name, old)
            if node is not None:
                nodes.append(node)
                same = same and old is not None and old.type == "dir"
            else:
                same = False
        return nodes, same

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
            self._owner_of(entry).json,
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
        if self._known.claim(_TREE, blob_id):
            self.counts.tree_blobs += 1
            self.counts.data_added += len(data)
            self.counts.data_added_packed += self._packer.add(_TREE, blob_id, data)
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
            self._owner_of(entry).json,
            entry.inode,
            entry.device,
            entry.links if entry.kind != "fifo" else 0,
            entry.target if entry.kind == "symlink" else None,
            entry.rdev if entry.kind in ("dev", "chardev") else 0,
            xattrs_json(xattrs) if xattrs else "",
        )

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
        owner = self._owner_of(entry)
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
        content = bytes.fromhex("".join(old.content or ()))
        return self._encode(entry, content, entry.size, [(a.name, a.value) for a in attributes or ()])

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
                return self._file_done(entry, path, old, self._save_small(data), len(data))
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

    def _file_done(self, entry: Entry, path: bytes, old: Node | None, content: bytes, size: int) -> bytes:
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
        self, entry: Entry, content: bytes, size: int, xattrs: Sequence[tuple[bytes | str, bytes | None]]
    ) -> bytes:
        """Return the node of a file whose blobs have the ids that are joined in ``content``."""
        return file_node(
            self._zone,
            entry.name,
            go_mode(entry.mode),
            entry.mtime,
            entry.ctime,
            self._owner_of(entry).json,
            entry.inode,
            entry.device,
            size,
            entry.links,
            content,
            xattrs_json(xattrs) if xattrs else "",
        )

    def save_file(self, file: SourceFile) -> tuple[bytes, int]:
        """Store the content of an open file; return the ids of its blobs, joined, and its size in bytes."""
        expected = file.entry.size
        if expected >= MIN_SIZE:
            return self._large.save(file, b"")
        data = read_from(file, expected + 1 if expected else 65536)
        if len(data) != expected:
            more = read_from(file, 65536) if data else b""
            while more and len(data) < MIN_SIZE:
                data += more
                more = read_from(file, 65536)
            if more:
                return self._large.save(file, data + more)
        if not data:
            return b"", 0
        return self._save_small(data), len(data)

    def _save_small(self, data: bytes) -> bytes:
        blob_id = sha256(data).digest()
        if self._claim(_DATA, blob_id):
            packed = self._add(_DATA, blob_id, data)
            counts = self.counts
            counts.data_blobs += 1
            counts.data_added += len(data)
            counts.data_added_packed += packed
        return blob_id

    def _count(self, plain: int, packed: int) -> None:
        counts = self.counts
        counts.data_blobs += 1
        counts.data_added += plain
        counts.data_added_packed += packed

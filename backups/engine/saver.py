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
from backups.engine.matching import Matcher, Span
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
    """A file that need not be read."""

    entry: Entry
    old: Node


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
        raw = self._old_bytes(tree_id)
        return OldTree(raw, self._decoded(raw), tree_id) if raw else _NOTHING

    def _old_bytes(self, tree_id: str) -> bytes:
        try:
            return self._repository.load_tree(tree_id)
        except (Corrupt, StoreError):
            return b""

    @staticmethod
    def _decoded(raw: bytes) -> dict[str, Node]:
        try:
            return {node.name: node for node in decode_tree(raw)}
        except Corrupt:
            return {}

    def folder_tree(self, folder: SourceFolder, path: bytes, old_id: str | None) -> str:
        """Save everything below a folder and return the id of its tree.  SourceProblem if it cannot be listed."""
        try:
            entries = folder.entries()
        except OSError as error:
            raise SourceProblem(error.strerror or str(error)) from error
        raw = self._old_bytes(old_id) if old_id else b""
        spans = self._match(folder, raw, entries) if raw else None
        if spans is not None:
            nodes, same = self._below(folder, path + b"/", entries, raw, spans)
        else:
            nodes, same = self._items(folder, path + b"/", entries, self._decoded(raw) if raw else {})
        if self._cancel.is_set:
            self._cancel.check()
        return old_id if same and old_id else self.save_tree(nodes, OldTree(raw, {}, old_id or ""))

    def _match(self, folder: SourceFolder, raw: bytes, entries: list[Entry]) -> list[Span] | None:
        matcher = Matcher(self._bare_node, lambda entry: self._quiet_node(folder, entry), self._has)
        return matcher.match(raw, entries)

    def _below(
        self, folder: SourceFolder, prefix: bytes, entries: list[Entry], raw: bytes, spans: list[Span]
    ) -> tuple[list[bytes], bool]:
        """Save the folders in a folder of which all else is as it was; tell whether they are, too."""
        files = [entry.size for entry in entries if entry.kind == "file"]
        if files:
            counts = self.counts
            counts.files_unmodified += len(files)
            counts.total_files_processed += len(files)
            counts.total_bytes_processed += sum(files)
            self._on_progress(len(files), sum(files), prefix + entries[-1].name)
        fresh = {
            number: self.dir_node(folder, entry, prefix + entry.name, spans[number][2])
            for number, entry in enumerate(entries)
            if entry.kind == "dir"
        }
        if all(node == raw[slice(*spans[number][:2])] for number, node in fresh.items()):
            return [], True
        nodes = (fresh.get(number, raw[span[0] : span[1]]) for number, span in enumerate(spans))
        return [node for node in nodes if node is not None], False

    def _items(
        self, folder: SourceFolder, prefix: bytes, entries: list[Entry], before: dict[str, Node]
    ) -> tuple[list[bytes], bool]:
        """Save the items of a folder one by one; the second value says that nothing is known to be as it was."""
        if not before:
            any_node, of_file = self.node, self.file_node
            fresh = [
                (of_file if entry.kind == "file" else any_node)(folder, entry, prefix + entry.name, None)
                for entry in entries
            ]
            return [node for node in fresh if node is not None], False
        nodes: list[bytes] = []
        for entry in entries:
            old = before.get(quote_name(entry.name))
            kept = self.kept(entry, old) if old is not None else None
            node = self.node(folder, entry, prefix + entry.name, old) if kept is None else self.encode_kept(kept)
            if node is not None:
                nodes.append(node)
        return nodes, False

    def node(self, folder: SourceFolder, entry: Entry, path: bytes, old: Node | None) -> bytes | None:
        """Save one item with all below it and return its node, or None if it had to be left out."""
        if entry.kind == "file":
            return self.file_node(folder, entry, path, old)
        if entry.kind == "dir":
            return self.dir_node(folder, entry, path, old.subtree if old is not None and old.type == "dir" else None)
        return self.special_node(folder, entry, path)

    def dir_node(self, folder: SourceFolder, entry: Entry, path: bytes, old_id: str | None) -> bytes | None:
        """Save a folder with all below it and return its node; ``old_id`` is its tree in the parent snapshot."""
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
            return self._special(entry, folder.xattrs(entry))
        except OSError as error:
            self._problem(path, error)
            return None

    def _quiet_node(self, folder: SourceFolder, entry: Entry) -> bytes | None:
        try:
            return self._special(entry, folder.xattrs(entry))
        except OSError:
            return None

    def _special(self, entry: Entry, xattrs: Sequence[tuple[bytes, bytes | None]]) -> bytes:
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
        if (old.ctime != ctime or old.mtime != mtime) and (
            parse_time(old.ctime) != entry.ctime or parse_time(old.mtime) != entry.mtime
        ):
            return None
        has = self._has
        for blob_id in content:
            if not has(0, bytes.fromhex(blob_id)):
                return None
        counts = self.counts
        counts.files_unmodified += 1
        counts.total_files_processed += 1
        counts.total_bytes_processed += entry.size
        self._on_progress(1, entry.size, entry.name)
        return _Kept(entry, old)

    def _bare_node(self, entry: Entry) -> bytes:
        """Return the node a file would have without content and attributes."""
        return self._encode(entry, b"", entry.size, ())

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

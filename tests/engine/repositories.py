"""Small repositories made blob by blob, so that a test decides what lies in which pack."""

from __future__ import annotations

import random
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Union

from backups.engine.blob import BlobType, Codec, seal_blob
from backups.engine.index_file import encode_index
from backups.engine.keys import KdfParams
from backups.engine.layout import DATA, INDEX, SNAPSHOTS, object_key
from backups.engine.names import name_json
from backups.engine.pack import FIXED, PackBuilder, entry_size, parse_header
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot, encode_snapshot
from backups.engine.tree import decode_tree, encode_dir_node, encode_file_node, encode_tree, go_mode, owner_json
from destinations.storage.base import ObjectStore
from destinations.storage.local import LocalStore

PASSWORD = "correct horse"
QUICK = KdfParams(n=16)
POLYNOMIAL = 0x3DA3358B4DC173
TIME = "2024-01-02T03:04:05Z"

Folder = Mapping[str, Union[bytes, list[bytes], "Folder"]]
"""A tree to store: a file is its content, or the list of its chunks."""


def noise(seed: int, size: int = 2000) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def new_repository(store: ObjectStore, *, version: int = 2, cache: Path | None = None) -> Repository:
    """An empty repository with a cheap key."""
    made = Repository.create(store, PASSWORD, version=version, polynomial=POLYNOMIAL, params=QUICK, cache_root=cache)
    made.load_index()
    return made


def reopened(repository: Repository, store: ObjectStore | None = None, *, cache: Path | None = None) -> Repository:
    """The same repository as another process would see it, index loaded."""
    again = Repository.open(store or repository.store, PASSWORD, cache_root=cache)
    again.load_index()
    return again


class Writer:
    """Stores trees and snapshots into a repository, one pack of data and one of trees for each snapshot."""

    def __init__(self, repository: Repository, *, pack_blobs: int = 1000) -> None:
        self.repository = repository
        self._pack_blobs = pack_blobs
        self._open: dict[BlobType, PackBuilder] = {}
        self._packs: list[tuple[str, bytes]] = []
        self.force = False
        """Store blobs even if the index has them."""
        self.raw = False
        """Do not compress anything."""
        self._done: set[tuple[BlobType, bytes]] = set()

    def blob(self, kind: BlobType, plain: bytes) -> bytes:
        """Store a blob; return its id."""
        name = sha256(plain).digest()
        if not self.force and ((kind, name) in self._done or self.repository.index.has(kind, name)):
            return name
        self._done.add((kind, name))
        compress = self.repository.version >= 2 and not self.raw
        sealed, size = seal_blob(self.repository.key, Codec(), kind, plain, compress=compress)
        builder = self._open.setdefault(kind, PackBuilder(kind))
        builder.add(name, sealed, size)
        if len(builder.parts) >= self._pack_blobs:
            self.finish_pack(kind)
        return name

    def tree(self, folder: Folder) -> str:
        """Store a folder and everything below it; return the tree's id."""
        nodes = []
        for name in sorted(folder, key=lambda text: text.encode()):
            item = folder[name]
            quoted, owner = name_json(name.encode()), owner_json(0, 0, "root", "root")
            if isinstance(item, Mapping):
                nodes.append(encode_dir_node(quoted, go_mode(0o40755), TIME, TIME, owner, 1, 1, self.tree(item)))
                continue
            chunks = item if isinstance(item, list) else [item] if item else []
            content = [self.blob(BlobType.DATA, chunk).hex() for chunk in chunks]
            size = sum(map(len, chunks))
            nodes.append(encode_file_node(quoted, go_mode(0o100644), TIME, TIME, owner, 1, 1, size, 1, content))
        return self.blob(BlobType.TREE, encode_tree(nodes)).hex()

    def above(self, tree: str, *names: str) -> str:
        """Store a folder whose items are all this tree; return its id."""
        owner = owner_json(0, 0, "root", "root")
        nodes = [
            encode_dir_node(name_json(name.encode()), go_mode(0o40755), TIME, TIME, owner, 1, 1, tree) for name in names
        ]
        return self.blob(BlobType.TREE, encode_tree(nodes)).hex()

    def finish_pack(self, kind: BlobType) -> None:
        """Store the open pack of a kind."""
        builder = self._open.pop(kind, None)
        if builder is not None:
            pack = builder.finish(self.repository.key)
            self.repository.store.put(object_key(DATA, pack.id), pack.parts)
            self._packs.append((pack.id, pack.header))

    def flush(self, *, index: bool = True) -> list[str]:
        """Store open packs and, if wanted, the index; return the ids of the packs since the last flush."""
        for kind in BlobType:
            self.finish_pack(kind)
        packs, self._packs = self._packs, []
        if index and packs:
            payload = encode_index((name, parse_header(header)) for name, header in packs)
            name = self.repository.save_object(INDEX, payload)
            self.repository.extend_index(packs, [name])
        return [name for name, _ in packs]

    def snapshot(self, folder: Folder, *, time: str = TIME, tags: list[str] | None = None, path: str = "/data") -> str:
        """Store a snapshot; return its id."""
        tree = self.tree(folder)
        self.flush()
        snapshot = Snapshot(time=time, tree=tree, paths=[path], hostname="host", username="root", tags=tags or [])
        return self.repository.save_object(SNAPSHOTS, encode_snapshot(snapshot))


def read_folder(repository: Repository, tree_id: str) -> dict[str, object]:
    """Everything below a tree, as it would be given to :meth:`Writer.tree` with whole contents."""
    found: dict[str, object] = {}
    for node in decode_tree(repository.load_tree(tree_id)):
        if node.subtree:
            found[node.name] = read_folder(repository, node.subtree)
        else:
            chunks = [repository.load_blob(BlobType.DATA, bytes.fromhex(name)) for name in node.content or []]
            found[node.name] = b"".join(chunks)
    return found


def contents(repository: Repository) -> dict[str, dict[str, object]]:
    """Every snapshot's content by its time, read back whole."""
    return {snapshot.time: read_folder(repository, snapshot.tree) for snapshot in repository.snapshots()}


def on_disk(objects: Mapping[str, bytes], path: Path) -> Path:
    """The objects of a memory store as a repository in a folder, without waiting for any disk."""
    for folder in ("data", "index", "keys", "locks", "snapshots"):
        (path / folder).mkdir(parents=True, exist_ok=True)
    for key, content in objects.items():
        (path / key).parent.mkdir(exist_ok=True)
        (path / key).write_bytes(content)
    return path


def local(path: Path) -> LocalStore:
    """A store in a folder."""
    return LocalStore(path)


def assert_whole(repository: Repository) -> None:
    """Every pack of the index is there with its size, every blob opens, every snapshot reads back."""
    index, sizes = repository.index, repository.ids(DATA)
    used = dict.fromkeys(range(len(index.packs)), FIXED)
    for kind, blob_id, place in index.items():
        used[place.pack] += place.length + entry_size(place.plain_size)
        assert repository.load_blob(kind, blob_id) is not None
    assert {index.packs[number].hex(): size for number, size in used.items()}.items() <= sizes.items()
    contents(repository)

"""Trees from strangers: listed, checked, mended, restored; and the names and times in them."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import msgspec

from backups.engine.blob import BlobType
from backups.engine.checker import Check, CheckOptions
from backups.engine.cli.browse import item_line, node_fields, walk
from backups.engine.diff import diff
from backups.engine.dumper import dump_folder
from backups.engine.errors import Corrupt, EngineError
from backups.engine.find import find
from backups.engine.layout import SNAPSHOTS
from backups.engine.names import name_json, quote_name, unquote_name
from backups.engine.output import Console
from backups.engine.patterns import Patterns
from backups.engine.repair_snapshots import repair_snapshots
from backups.engine.repository import Repository
from backups.engine.restore_rules import RestoreOptions
from backups.engine.restorer import restore
from backups.engine.stats import stats
from backups.engine.times import clock_of, parse_time, zone_of
from backups.engine.tree import (
    decode_tree,
    encode_dir_node,
    encode_file_node,
    encode_special_node,
    encode_tree,
    go_mode,
    owner_json,
    unix_mode,
    xattrs_json,
)
from restores.targets.archive import open_archive
from restores.targets.folder import FolderTarget
from restores.targets.policy import LIKE_RESTIC
from tests.engine.repositories import TIME, Writer
from tests.fuzz.objects import ID, TIMES, Nowhere, bare, sample
from tests.fuzz.target import Target


def _trees() -> list[bytes]:
    owner = owner_json(1, 2, "u", "g")
    some = xattrs_json([(b"user.a", b"v"), (b"user.empty", b""), (b"user.none", None)])
    file = encode_file_node(name_json(b"f"), go_mode(0o104755), *TIMES[:2], owner, 1, 2, 5, 2, [ID, ID], some)
    folder = encode_dir_node(name_json(b"\xff\n"), go_mode(0o41777), *TIMES[2:], owner, 3, 4, ID)
    link = encode_special_node(
        name_json("é".encode()), "symlink", go_mode(0o120777), *TIMES[:2], owner, 5, 6, 1, target=b"\xff/../x"
    )
    device = encode_special_node(name_json(b"z"), "chardev", go_mode(0o20600), *TIMES[:2], owner, 7, 8, 1, device=259)
    return [encode_tree([]), encode_tree([file]), encode_tree([folder, file, device, link])]


def _tree(data: bytes) -> None:
    for node in decode_tree(data, check_names=False):
        assert isinstance(unix_mode(node.mode), int)
    for node in decode_tree(data):
        raw = node.raw_name
        assert raw not in (b"", b".", b"..")
        assert b"/" not in raw
        assert b"\0" not in raw
        assert all(len(bytes.fromhex(name)) == 32 for name in node.content or [])
    repository, tree = _holding(data)
    _show(repository, tree)
    for finding in Check(repository, CheckOptions(workers=0)).findings():
        assert str(finding.message)


def _holding(tree: bytes) -> tuple[Repository, str]:
    """The sample repository with one more tree, which is a snapshot's."""
    whole, key, _, _ = sample()
    repository = bare(whole, key)
    repository.load_index()
    writer = Writer(repository)
    name = writer.blob(BlobType.TREE, tree).hex()
    writer.flush()
    repository.save_object(SNAPSHOTS, json.dumps({"time": TIME, "tree": name, "paths": ["/"]}).encode())
    return repository, name


def _show(repository: Repository, tree: str) -> None:
    console = Console(json=True, out=Nowhere())
    for path, node in _typed(walk(repository, tree, [], recursive=True)):
        console.record(node_fields(path, node))
        console.result(item_line(path, node))
    for _ in _typed(
        find(lambda name: decode_tree(repository.load_tree(name)), [(ID, tree)], Patterns(["*"]), on_damage=_ignore)
    ):
        pass


def _real_trees() -> list[bytes]:
    """Trees whose blobs are there."""
    whole, key, _, tree = sample()
    repository = bare(whole, key)
    repository.load_index()
    top = repository.load_tree(tree)
    (folder,) = [node.subtree for node in decode_tree(top) if node.subtree]
    return [top, repository.load_tree(folder), *_trees()]


def _mended(data: bytes) -> None:
    """What ``repair snapshots`` leaves is whole, whatever it was given."""
    repository, tree = _holding(data)
    for verb in ("restore-size", "files-by-contents", "blobs-per-file", "raw-data"):
        try:
            figures = stats(repository, repository.snapshots(), verb, workers=0)  # type: ignore[arg-type]
            Console(json=True, out=Nowhere()).record(msgspec.to_builtins(figures))
        except EngineError:
            continue
    load = lambda name: decode_tree(repository.load_tree(name))  # noqa: E731
    for before, after in itertools.permutations((tree, sample()[3])):
        for change in _typed(diff(load, before, after, metadata=True, on_damage=_ignore)):
            assert change
    repair_snapshots(repository, repository.snapshots(), forget=True)
    left = [f for f in Check(repository, CheckOptions(workers=0)).findings() if f.severity == "error"]
    assert not left, left


def _restored(data: bytes) -> None:
    """Restore into a folder and into archives; nothing may get beside the folder."""
    repository, tree = _holding(data)
    for form in ("tar", "zip"):
        try:
            dump_folder(repository, tree, b"", open_archive(form, io.BytesIO()))  # type: ignore[arg-type]
        except EngineError:
            continue
    top = tempfile.mkdtemp(prefix="fuzz-")
    try:
        for number in range(2):  # the second time over what the first left
            target = FolderTarget(os.path.join(top, "target"), policy=LIKE_RESTIC)
            options = RestoreOptions(workers=0, verify=bool(number), sparse=bool(number))
            try:
                restore(repository, tree, target, options=options)
            finally:
                target.close()
            assert os.listdir(top) in ([], ["target"])
    finally:
        shutil.rmtree(top)


def _ignore(_: bytes, error: Corrupt) -> None:
    assert str(error)


def _typed(items: Iterator[Any]) -> Iterator[Any]:
    """Take items until a typed error ends them."""
    try:
        yield from items
    except EngineError:
        return


def _names() -> list[bytes]:
    raws = [b"plain", b'a"b\\c', b"\xff\xfe", b"new\nline", "é\u00a0😀\U000e0001".encode(), bytes(range(1, 32))]
    return [quote_name(raw).encode() for raw in raws] + [rb"\101\u0041\U0001F600\xff"]


def _name(data: bytes) -> None:
    raw = unquote_name(data.decode("utf-8", "replace"))
    assert unquote_name(quote_name(raw)) == raw
    assert json.loads(name_json(raw)) == quote_name(raw)


def _moments() -> list[bytes]:
    return [moment.encode() for moment in TIMES]


def _moment(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    assert isinstance(parse_time(text), int)
    assert abs(zone_of(text)) < 86_400
    assert clock_of(text)


_WORDS = (b'"content":null', b'"subtree":null', b'"name":"..",', rb"\\x2f", b"null")
TREES: dict[str, Target] = {
    "tree": Target(_trees, _tree, _WORDS),
    "mended-tree": Target(_real_trees, _mended, _WORDS),
    "restored-tree": Target(_real_trees, _restored, _WORDS),
    "name": Target(_names, _name, (rb"\x", rb"\u", rb"\U", rb"\0", rb"\\", "\u2028".encode())),
    "time": Target(_moments, _moment, (b"Z", b"+00:00", b"T24:", b":60", b".", "\u0661".encode())),
}

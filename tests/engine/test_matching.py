"""An unchanged folder is recognised in the bytes of its tree; whatever differs is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from backups.engine import Entry
from backups.engine.matching import Matcher
from backups.engine.names import name_json
from backups.engine.nodes import file_node
from backups.engine.times import TimeFormatter
from backups.engine.tree import encode_dir_node, encode_special_node, encode_tree, go_mode, owner_json, xattrs_json

ZONE = TimeFormatter("UTC")
IDS = [bytes([number]) * 32 for number in range(1, 6)]
SUBTREE = "ab" * 32


def _file(entry: Entry, content: bytes = b"", xattrs: str = "") -> bytes:
    return file_node(
        ZONE, entry.name, go_mode(entry.mode), entry.mtime, entry.ctime, owner_json(entry.uid, entry.gid, "u", "g"),
        entry.inode, entry.device, entry.size, entry.links, content, xattrs,
    )  # fmt: skip


def _special(entry: Entry) -> bytes:
    owner = owner_json(entry.uid, entry.gid, "u", "g")
    times = ZONE.format(entry.mtime), ZONE.format(entry.ctime)
    return encode_special_node(
        name_json(entry.name), entry.kind, go_mode(entry.mode), *times, owner, 5, 6, 1, entry.target
    )


def _folder(entry: Entry) -> bytes:
    times = ZONE.format(entry.mtime), ZONE.format(entry.ctime)
    return encode_dir_node(name_json(entry.name), go_mode(entry.mode), *times, '"uid":1,"gid":2', 5, 6, SUBTREE)


@dataclass
class _Case:
    entries: list[Entry]
    nodes: list[bytes]

    @property
    def tree(self) -> bytes:
        return encode_tree(self.nodes)

    def match(self, tree: bytes | None = None, has: Callable[[int, bytes], bool] = lambda *_: True) -> object:
        return Matcher(_file, _special, has).match(self.tree if tree is None else tree, self.entries)


def _entry(name: bytes, kind: str = "file", size: int = 7, links: int = 1) -> Entry:
    return Entry(name, kind, 0o100644, 10**18 + 1, 10**18 + 2, 1, 2, 33, 44, size, links, target=b"a")  # type: ignore[arg-type]


@pytest.fixture
def case() -> _Case:
    entries = [
        _entry(b'"quoted"'), _entry(b"a"), _entry(b"b", size=0), _entry(b"c"), _entry(b"d", "dir"),
        _entry(b"l", "symlink"), _entry(b"x"),
    ]  # fmt: skip
    attributes = xattrs_json([(b"user.a", b"1"), (b'user."],"content":["', b"2")])
    nodes = [
        _file(entries[0], IDS[0]),
        _file(entries[1], IDS[1] + IDS[2]),
        _file(entries[2]),
        _file(entries[3], IDS[3], attributes),
        _folder(entries[4]),
        _special(entries[5]),
        _file(entries[6], IDS[4]),
    ]
    return _Case(entries, nodes)


def test_what_is_as_it_was_is_found_with_its_places(case: _Case) -> None:
    spans = Matcher(_file, _special, lambda *_: True).match(case.tree, case.entries)
    assert spans is not None
    assert [case.tree[start:stop] for start, stop, _ in spans] == case.nodes
    assert [subtree for _, _, subtree in spans] == ["", "", "", "", SUBTREE, "", ""]


def test_an_empty_folder_matches_an_empty_tree() -> None:
    assert _Case([], []).match() == []
    assert _Case([], []).match(encode_tree([_file(_entry(b"a"))])) is None


@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize(
    "change", ["name", "mode", "mtime", "ctime", "uid", "inode", "device", "size", "links", "target"]
)
def test_every_difference_of_an_item_is_seen(case: _Case, number: int, change: str) -> None:
    entry = case.entries[number]
    before = _special(entry) if entry.kind == "symlink" else _file(entry)
    value = getattr(entry, change)
    setattr(entry, change, value + b"x" if isinstance(value, bytes) else value + 1)
    after = _special(entry) if entry.kind == "symlink" else _file(entry)
    if entry.kind == "dir":
        assert (case.match() is None) == (change == "name"), "a folder's own metadata is compared by who encodes it"
    else:
        assert (case.match() is None) == (before != after)


def test_more_digits_are_another_number(case: _Case) -> None:
    case.entries[0].links = 12
    case.nodes[0] = _file(case.entries[0], IDS[0])
    assert case.match() is not None
    case.entries[0].links = 1
    assert case.match() is None


def test_items_that_came_or_went_are_seen(case: _Case) -> None:
    tree = case.tree
    for number in range(len(case.entries)):
        gone = case.entries.pop(number)
        assert case.match(tree) is None
        case.entries.insert(number, gone)
    case.entries.append(_entry(b"z"))
    assert case.match(tree) is None


def test_a_blob_that_is_not_there_makes_the_file_one_to_read(case: _Case) -> None:
    for lost in IDS:
        assert case.match(has=lambda _, blob_id, lost=lost: blob_id != lost) is None


def test_a_file_with_bytes_but_no_blobs_is_read(case: _Case) -> None:
    case.nodes[0] = _file(case.entries[0])
    assert case.match() is None


@pytest.mark.parametrize("name", ["user.\\ufffd", "user.\N{REPLACEMENT CHARACTER}"])
def test_attributes_whose_names_are_no_text_are_read_again(case: _Case, name: str) -> None:
    case.nodes[0] = _file(case.entries[0], IDS[0], f',"extended_attributes":[{{"name":"{name}","value":"MQ=="}}]')
    assert case.match() is None


def test_a_tree_that_ends_early_matches_no_more(case: _Case) -> None:
    tree = case.tree
    for at in range(len(tree)):
        assert case.match(tree[:at]) is None

"""Trees have exactly the bytes the format asks for, and nothing hostile gets past decoding."""

import hashlib
import json
import stat

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine import tree
from backups.engine.errors import Corrupt
from backups.engine.names import name_json, quote_name
from backups.engine.tree import (
    EMPTY_TREE,
    ExtendedAttribute,
    Node,
    decode_tree,
    encode_dir_node,
    encode_file_node,
    encode_node,
    encode_special_node,
    encode_tree,
    go_mode,
    owner_json,
    reencodes_identically,
    safe_name,
    unix_mode,
    xattrs_json,
)

ID_A = "8df0c0d7417c533c0eba5d59c8238e2b45b4ef9f493df9847fd6af2f1497b5d6"
ID_B = "26d16eb0d341c24f782effabd66d6f2aa641d919b2bb8766d8abe7efbbc4db22"
GOLDEN_ID = "e54fefe3aa0ca101cc867fc5898c2d84f56c4f7035bb1018b6773fb5e3f71bd2"
_OWNER = '"uid":1000,"gid":100,"user":"u","group":"g"'
_TIMES = '"mtime":"2024-01-02T03:04:05Z","atime":"2024-01-02T03:04:05Z","ctime":"2024-01-02T03:04:05.12345678Z"'
GOLDEN = (
    '{"nodes":[{"name":"a\\\\\\"b\\\\\\\\c","type":"file","mode":420,'
    + _TIMES
    + ","
    + _OWNER
    + ',"inode":7,"device_id":5,'
    '"size":17,"links":1,"content":["' + ID_A + '"]},'
    '{"name":"déjà \\u003c1\\u003e","type":"file","mode":8389101,' + _TIMES + "," + _OWNER + ',"inode":8,"device_id":5,'
    '"size":480,"links":2,"extended_attributes":[{"name":"user.k","value":"dg=="}],"content":["' + ID_B + '"]},'
    '{"name":"empty","type":"file","mode":384,'
    + _TIMES
    + ","
    + _OWNER
    + ',"inode":9,"device_id":5,"links":1,"content":[]},'
    '{"name":"l\\\\xff","type":"symlink","mode":134218239,'
    + _TIMES
    + ","
    + _OWNER
    + ',"inode":10,"device_id":5,"links":1,'
    '"linktarget":"t\\ufffd\\u0026","linktarget_raw":"dP8m","content":null}]}\n'
).encode()
MTIME, CTIME = "2024-01-02T03:04:05Z", "2024-01-02T03:04:05.12345678Z"


def only(fields: str) -> bytes:
    """A tree of one node made of these JSON fields."""
    return b'{"nodes":[{%b}]}\n' % fields.encode()


def test_the_golden_tree_decodes() -> None:
    assert hashlib.sha256(GOLDEN).hexdigest() == GOLDEN_ID
    quoted, accents, empty, link = decode_tree(GOLDEN)
    assert [n.raw_name for n in (quoted, accents, empty, link)] == [b'a"b\\c', "déjà <1>".encode(), b"empty", b"l\xff"]
    assert (quoted.content, quoted.size, quoted.links, quoted.mtime) == ([ID_A], 17, 1, MTIME)
    assert unix_mode(accents.mode) == 0o104755
    assert accents.extended_attributes == [ExtendedAttribute("user.k", b"v")]
    assert (empty.size, empty.content) == (0, [])
    assert (link.type, link.raw_target, link.content) == ("symlink", b"t\xff&", None)


def test_the_golden_tree_is_encoded_from_file_system_values() -> None:
    owner = owner_json(1000, 100, "u", "g")
    file_mode = go_mode(stat.S_IFREG | 0o644)
    nodes = [
        encode_file_node(name_json(b'a"b\\c'), file_mode, MTIME, CTIME, owner, 7, 5, 17, 1, [ID_A]),
        encode_file_node(
            name_json("déjà <1>".encode()), go_mode(stat.S_IFREG | 0o4755), MTIME, CTIME, owner, 8, 5, 480, 2, [ID_B],
            xattrs_json([(b"user.k", b"v")]),
        ),
        encode_file_node(name_json(b"empty"), go_mode(stat.S_IFREG | 0o600), MTIME, CTIME, owner, 9, 5, 0, 1, []),
        encode_special_node(
            name_json(b"l\xff"), "symlink", go_mode(stat.S_IFLNK | 0o777), MTIME, CTIME, owner, 10, 5, 1, b"t\xff&"
        ),
    ]  # fmt: skip
    assert encode_tree(nodes) == GOLDEN


def test_the_golden_tree_reencodes_identically() -> None:
    assert reencodes_identically(GOLDEN)
    assert reencodes_identically(EMPTY_TREE)
    assert encode_tree([]) == EMPTY_TREE


@pytest.mark.parametrize(
    "data",
    [
        GOLDEN.rstrip(b"\n"),
        GOLDEN.replace(b'"inode":7,', b'"inode":7,"added_later":1,'),
        GOLDEN.replace(b'"links":2,', b'"links":2,"device":0,'),
        GOLDEN.replace(b":[]", b": []"),
        only(f'"name":"x","type":"symlink",{_TIMES},{_OWNER},"linktarget":"\\u0008","content":null'),
        b"not json",
    ],
)
def test_a_tree_that_would_lose_something_is_told_apart(data: bytes) -> None:
    assert not reencodes_identically(data)


def test_names_in_an_older_dialect_are_kept_as_they_are() -> None:
    assert reencodes_identically(only(f'"name":"\\\\U0001fae8","type":"fifo",{_TIMES},{_OWNER},"content":null'))


def test_windows_attributes_are_kept_raw() -> None:
    raw = '"generic_attributes":{"windows.creation_time":{"LowDateTime":1,"HighDateTime":2},"x":"PA=="}'
    data = only(f'"name":"x","type":"file",{_TIMES},{_OWNER},"links":1,{raw},"content":[]')
    assert reencodes_identically(data)


def test_zero_and_empty_fields_vanish_but_owner_ids_and_times_stay() -> None:
    node = encode_file_node(b'"x"', 0, MTIME, CTIME, owner_json(0, 0, "", ""), 0, 0, 0, 0, [])
    assert node.decode() == f'{{"name":"x","type":"file",{_TIMES},"uid":0,"gid":0,"content":[]}}'
    assert encode_node(Node(name="x", type="file", mtime=MTIME, atime=MTIME, ctime=CTIME, content=[])) == node


def test_a_directory_has_its_subtree_last_and_no_links() -> None:
    node = encode_dir_node(b'"d"', go_mode(stat.S_IFDIR | 0o1777), MTIME, CTIME, _OWNER, 3, 5, ID_A)
    expected = f'{{"name":"d","type":"dir","mode":2148532735,{_TIMES},{_OWNER},"inode":3,"device_id":5,"content":null,'
    assert node.decode() == expected + f'"subtree":"{ID_A}"}}'


def test_a_device_has_its_number_before_the_content() -> None:
    mode = go_mode(stat.S_IFCHR | 0o666)
    node = encode_special_node(b'"null"', "chardev", mode, MTIME, CTIME, _OWNER, 4, 5, 1, device=259)
    expected = f'{{"name":"null","type":"chardev","mode":69206454,{_TIMES},{_OWNER},"inode":4,"device_id":5,"links":1,'
    assert node.decode() == expected + '"device":259,"content":null}'


def test_access_times_are_written_when_they_are_kept() -> None:
    for node in (
        encode_file_node(b'"x"', 420, MTIME, CTIME, _OWNER, 1, 1, 1, 1, [ID_A], atime="2020-01-01T00:00:00Z"),
        encode_file_node(b'"x"', 420, MTIME, CTIME, _OWNER, 0, 1, 1, 1, [ID_A], atime="2020-01-01T00:00:00Z"),
        encode_dir_node(b'"x"', 420, MTIME, CTIME, _OWNER, 1, 1, ID_A, atime="2020-01-01T00:00:00Z"),
        encode_special_node(b'"x"', "fifo", 420, MTIME, CTIME, _OWNER, 1, 1, atime="2020-01-01T00:00:00Z"),
    ):
        (decoded,) = decode_tree(encode_tree([node]))
        assert (decoded.mtime, decoded.atime, decoded.ctime) == (MTIME, "2020-01-01T00:00:00Z", CTIME)


def test_attributes_keep_their_order_and_a_missing_value_is_null() -> None:
    written = xattrs_json([(b"user.z", b""), (b"user.a", None), (b"bad\xff", b"\0\xff")])
    assert written == (
        ',"extended_attributes":[{"name":"user.z","value":""},{"name":"user.a","value":null},'
        '{"name":"bad\\ufffd","value":"AP8="}]'
    )
    assert xattrs_json([]) == ""


@pytest.mark.parametrize(
    ("st_mode", "mode"),
    [
        (0o100644, 420), (0o040755, 2147484141), (0o041777, 2148532735), (0o120777, 134218239), (0o104755, 8389101),
        (0o102755, 4194797), (0o060660, 67109296), (0o020660, 69206448), (0o010600, 33554816), (0o140600, 16777600),
        (0o100000, 0), (0o150600, (1 << 19) | 0o600),
    ],
)  # fmt: skip
def test_modes_are_those_of_go(st_mode: int, mode: int) -> None:
    assert go_mode(st_mode) == mode


@given(
    st.sampled_from(
        [stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFBLK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK]
    ),
    st.integers(0, 0o7777),
)
def test_every_mode_converts_back(kind: int, bits: int) -> None:
    assert unix_mode(go_mode(kind | bits)) == kind | bits


@given(st.integers(0, 2**32 - 1))
def test_a_hostile_mode_never_gives_more_than_a_mode(mode: int) -> None:
    assert 0 <= unix_mode(mode) <= 0o177777


names = st.binary(min_size=1, max_size=30).filter(lambda raw: raw not in (b".", b"..") and not {0, 47} & set(raw))
ids = st.binary(min_size=32, max_size=32).map(bytes.hex)
u32 = st.integers(0, 2**32 - 1) | st.just(0)
u64 = st.integers(0, 2**64 - 1) | st.just(0)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
attributes = st.builds(ExtendedAttribute, name=texts, value=st.none() | st.binary(max_size=9))
nodes = st.builds(
    Node,
    name=names.map(quote_name),
    type=st.sampled_from(["file", "dir", "symlink", "dev", "chardev", "fifo", "socket", "irregular"]),
    mode=u32, uid=u32, gid=u32, user=texts, group=texts, inode=u64, device_id=u64, size=u64, links=u64, device=u64,
    linktarget=texts, error=texts, subtree=st.none() | ids, content=st.none() | st.lists(ids, max_size=3),
    extended_attributes=st.none() | st.lists(attributes, min_size=1, max_size=3),
)  # fmt: skip


@given(st.lists(nodes, max_size=4))
def test_whatever_is_encoded_decodes_to_the_same_nodes(originals: list[Node]) -> None:
    data = encode_tree([encode_node(node) for node in originals])
    assert decode_tree(data) == originals
    assert reencodes_identically(data)


@given(names, u32, u64, u64, u64, u64, st.lists(ids, max_size=3))
def test_the_fast_encoder_agrees_with_the_general_one(
    raw: bytes, mode: int, inode: int, device_id: int, size: int, links: int, content: list[str]
) -> None:
    owner = owner_json(1, 2, "ü", "<g>")
    fast = encode_file_node(name_json(raw), mode, MTIME, CTIME, owner, inode, device_id, size, links, content)
    general = Node(
        name=quote_name(raw), type="file", mode=mode, mtime=MTIME, atime=MTIME, ctime=CTIME, uid=1, gid=2, user="ü",
        group="<g>", inode=inode, device_id=device_id, size=size, links=links, content=content,
    )  # fmt: skip
    assert fast == encode_node(general)
    assert json.loads(fast)["name"] == quote_name(raw)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "../x",
        "a\\\\x2fb",
        "\\\\x00",
        "\\u0000",
        "\\\\u002e\\\\u002e",
        "\\\\056",
        "\\\\q",
        '\\"',
    ],
)
def test_a_name_that_could_leave_the_directory_is_refused(name: str) -> None:
    data = only(f'"name":"{name}","type":"file","content":[]')
    with pytest.raises(Corrupt):
        decode_tree(data)
    assert len(decode_tree(data, check_names=False)) == 1


def test_a_safe_name_is_handed_back() -> None:
    assert safe_name(b"...") == b"..."
    for raw in (b"", b".", b"..", b"a/", b"a\0"):
        with pytest.raises(Corrupt):
            safe_name(raw)


HOSTILE = [
    b"", b"{", b"[]", b"null", b"{}", b'{"nodes":null}', b'{"nodes":{}}', b'{"nodes":[null]}', b'{"nodes":[1]}',
    b'{"nodes":[{}]}', b'{"nodes":[]}{"nodes":[]}', b'{"nodes":[{"name":"x"}]}', b"\xff\xfe",
    only('"name":"x","type":"file","mode":-1'), only('"name":"x","type":"file","mode":4294967296'),
    only('"name":"x","type":"file","uid":1.5'), only('"name":"x","type":"file","size":18446744073709551616'),
    only('"name":"x","type":"file","inode":-1'), only('"name":"x","type":"file","links":1e400'),
    only('"name":"x","type":"file","size":' + "9" * 10_000), only('"name":1,"type":"file"'),
    only('"name":"x","type":"file","content":["ab"]'), only('"name":"x","type":"file","content":[null]'),
    only(f'"name":"x","type":"file","content":["{"x" * 64}"]'), only(f'"name":"x","type":"dir","subtree":"{" " * 64}"'),
    only(f'"name":"x","type":"file","content":["{"é" * 64}"]'), only('"name":"x","type":"dir","subtree":""'),
    only('"name":"\\ud800","type":"file"'), b'{"nodes":[{"name":"\xff","type":"file"}]}',
    only('"name":"x","type":"symlink","linktarget_raw":"%%%"'),
    only('"name":"x","type":"file","unknown":' + "[" * 100_000 + "]" * 100_000),
    only('"name":"x","type":"file","generic_attributes":' + "[" * 100_000 + "]" * 100_000),
    b'{"nodes":' + b"[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_a_malformed_tree_is_refused_with_a_typed_error(data: bytes) -> None:
    with pytest.raises(Corrupt):
        decode_tree(data)
    assert not reencodes_identically(data)


@given(st.integers(0, len(GOLDEN) - 1), st.integers(0, 255))
def test_a_flipped_byte_never_raises_anything_but_corrupt(position: int, byte: int) -> None:
    data = GOLDEN[:position] + bytes([byte]) + GOLDEN[position + 1 :]
    try:
        for node in decode_tree(data):
            encode_node(node)
    except Corrupt:
        pass


def test_a_tree_beyond_the_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_TREE", 100)
    with pytest.raises(Corrupt):
        decode_tree(GOLDEN)


def test_the_order_of_fields_is_that_of_the_format() -> None:
    full = Node(
        name="x", type="file", mode=1, uid=1, gid=1, user="u", group="g", inode=1, device_id=1, size=1, links=1,
        linktarget="t", linktarget_raw=b"\xff", extended_attributes=[ExtendedAttribute("a", b"")],
        generic_attributes=msgspec.Raw(b'{"k":1}'), device=1, content=[], subtree=ID_A, error="e",
    )  # fmt: skip
    assert list(json.loads(encode_node(full))) == list(Node.__struct_fields__)


def test_a_tree_of_more_items_than_memory_has_room_for_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(Corrupt, match="more items"):
        decode_tree(b'{"nodes":[' + b"{}," * 2_000_000 + b"{}]}")

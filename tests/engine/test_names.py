"""Names and texts are spelled exactly as the format asks, and read back to the very bytes."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine.errors import Corrupt
from backups.engine.names import CURRENT, GO_1_19, json_string, name_json, quote_name, unquote_name
from backups.engine.printable import is_printable

SPELLINGS = [
    (b"plain-name_1.txt", b'"plain-name_1.txt"'),
    (b" two words ", b'" two words "'),
    (b'a"b\\c', rb'"a\\\"b\\\\c"'),
    ("déjà <1>".encode(), "déjà \\u003c1\\u003e".join('""').encode()),
    (b"l\xff", rb'"l\\xff"'),
    (b"new\nline", rb'"new\\nline"'),
    (b"\a\b\f\n\r\t\v", rb'"\\a\\b\\f\\n\\r\\t\\v"'),
    (b"\x01\x1f\x7f", rb'"\\x01\\x1f\\x7f"'),
    ("\u00a0".encode(), rb'"\\u00a0"'),
    ("\u2028\ufeff\u00ad".encode(), rb'"\\u2028\\ufeff\\u00ad"'),
    ("\U000e0001".encode(), rb'"\\U000e0001"'),
    ("\U0001f600".encode(), '"\U0001f600"'.encode()),
    ("\ufffd".encode(), '"\ufffd"'.encode()),
    (b"\xed\xa0\x80", rb'"\\xed\\xa0\\x80"'),
    (b"\xc0\xaf", rb'"\\xc0\\xaf"'),
    (b"\xf4\x90\x80\x80", rb'"\\xf4\\x90\\x80\\x80"'),
    (b"\xe2\x82.", rb'"\\xe2\\x82."'),
    (b"a&b", rb'"a\u0026b"'),
    (b"a'b", b'"a\'b"'),
]


@pytest.mark.parametrize(("raw", "spelled"), SPELLINGS, ids=[repr(raw) for raw, _ in SPELLINGS])
def test_a_name_is_spelled_in_two_layers(raw: bytes, spelled: bytes) -> None:
    assert name_json(raw) == spelled
    assert json_string(quote_name(raw)) == spelled
    assert unquote_name(json.loads(spelled)) == raw


@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_every_name_reads_back_to_its_bytes(raw: bytes) -> None:
    for dialect in (CURRENT, GO_1_19):
        assert unquote_name(quote_name(raw, dialect)) == raw
        assert json.loads(name_json(raw, dialect)) == quote_name(raw, dialect)


@pytest.mark.parametrize(
    ("unicode_version", "count", "digest"),
    [
        (15, 963_033, "3679b83a7a24aef0628b6926d104c6d447d278213a27131069dfe6ee2fafde68"),
        (13, 968_351, "8ae138ca58f7a9b6f9219f829eee23816aa686f21cac3e4af6efef9eb8b3eaac"),
    ],
)
def test_the_printable_table_is_the_frozen_one(unicode_version: int, count: int, digest: str) -> None:
    candidates = [*range(0x20, 0x7F), *range(0x80, 0xD800), *range(0xE000, 0x110000)]
    escaped = [str(code) for code in candidates if not is_printable(code, unicode_version)]
    assert len(escaped) == count
    assert hashlib.sha256("\n".join(escaped).encode()).hexdigest() == digest


def test_the_older_dialect_escapes_characters_it_did_not_know() -> None:
    name = "\u0cf3\U0001fae8".encode()
    assert name_json(name) == '"\u0cf3\U0001fae8"'.encode()
    assert name_json(name, GO_1_19) == rb'"\\u0cf3\\U0001fae8"'


def test_a_text_is_encoded_as_go_does() -> None:
    assert json_string('"\\/\n\r\t<>&') == rb'"\"\\/\n\r\t\u003c\u003e\u0026"'
    assert json_string("\0\x1f\x7f") == b'"\\u0000\\u001f\x7f"'
    assert json_string("\u2028\u2029é") == '"\\u2028\\u2029é"'.encode()
    assert json_string("\b\f") == rb'"\b\f"'
    assert json_string("\b\f", GO_1_19) == rb'"\u0008\u000c"'


def test_each_undecodable_byte_of_a_text_becomes_one_replacement() -> None:
    assert json_string(b"t\xff&") == rb'"t\ufffd\u0026"'
    assert json_string(b"\xe2\x82") == rb'"\ufffd\ufffd"'
    assert json_string("t\udcff") == rb'"t\ufffd"'


@given(st.text())
def test_json_strings_decode_to_what_went_in(text: str) -> None:
    replaced = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    assert json.loads(json_string(text)) == replaced


@pytest.mark.parametrize(
    "text",
    [
        "\\", "\\q", "\\x1", "\\xg0", "\\400", "\\777", "\\18", "\\ud800", "\\uDfff", "\\u12", "\\U00110000",
        "\\'", 'a"b', "a\nb", "ok\\n\n", "\\n\"", "lone \ud800", "\\n\udc80",
    ],
)  # fmt: skip
def test_a_text_that_no_quoting_makes_is_refused(text: str) -> None:
    with pytest.raises(Corrupt):
        unquote_name(text)


def test_octal_escapes_are_read() -> None:
    assert unquote_name("\\101\\377\\000") == b"A\xff\0"

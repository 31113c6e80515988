"""How names and texts are spelled in the repository: two layers, reproduced byte for byte.

Layer 1 turns the raw bytes of a file name into text as Go's ``strconv.Quote`` does.  Layer 2 is Go's JSON encoding with
HTML escapes and is used for every text of a tree.  Raw names are ``bytes`` throughout the engine; ``str`` means layer-1
text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backups.engine.errors import Corrupt
from backups.engine.printable import NEWEST, is_printable

_CACHE_LIMIT = 1 << 16

_SHORT = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
_UNSHORT = {letter[1]: bytes([code]) for code, letter in _SHORT.items()}

# Bytes that both layers leave alone; `bytes.translate` with them deleted is the quickest test there is.
_PLAIN_JSON = bytes(sorted(set(range(0x20, 0x7F)) - set(b'"\\<>&')))
_PLAIN_NAME = _PLAIN_JSON + b"<>&"

_JSON_SPECIAL = re.compile('[\\0-\\x1f"\\\\<>&\\u2028\\u2029\\ud800-\\udfff]').search

_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\\"])|x([0-9a-fA-F]{2})|([0-3][0-7]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))", re.S
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between builds of restic.

    ``unicode_version`` is that of its Go toolchain: 15, or 13 before Go 1.21.  ``short_escapes`` says whether JSON has
    ``\\b`` and ``\\f`` (Go 1.22 on) or ``\\u0008`` and ``\\u000c``.
    """

    unicode_version: int = NEWEST
    short_escapes: bool = True


CURRENT = Dialect()
"""restic 0.17 and newer."""
GO_1_19 = Dialect(unicode_version=13, short_escapes=False)
"""restic 0.14.0 as distributed by Debian 12."""


class _BoundedTable(dict[int, str]):
    """A table for ``str.translate`` that works its entries out on first use and never grows without bound."""

    def __missing__(self, code_point: int) -> str:
        if len(self) >= _CACHE_LIMIT:
            self.clear()
        spelled = self[code_point] = self.spell(code_point)
        return spelled

    def spell(self, code_point: int) -> str:
        raise NotImplementedError


class _QuoteTable(_BoundedTable):
    def __init__(self, unicode_version: int) -> None:
        super().__init__()
        self.unicode_version = unicode_version

    def spell(self, code_point: int) -> str:
        if code_point in _SHORT:
            return _SHORT[code_point]
        if code_point < 0x20 or code_point == 0x7F:
            return f"\\x{code_point:02x}"
        if 0xDC80 <= code_point <= 0xDCFF:  # one undecodable byte, as surrogateescape hands it over
            return f"\\x{code_point - 0xDC00:02x}"
        if is_printable(code_point, self.unicode_version):
            return chr(code_point)
        return f"\\u{code_point:04x}" if code_point < 0x10000 else f"\\U{code_point:08x}"


class _JsonTable(_BoundedTable):
    def __init__(self, short_escapes: bool) -> None:
        super().__init__()
        self.update({code: f"\\u{code:04x}" for code in (*range(0x20), *b"<>&", 0x2028, 0x2029)})
        self.update({ord(c): "\\" + s for c, s in {'"': '"', "\\": "\\", "\n": "n", "\r": "r", "\t": "t"}.items()})
        if short_escapes:
            self.update({8: "\\b", 12: "\\f"})

    def spell(self, code_point: int) -> str:
        return "\\ufffd" if 0xD800 <= code_point <= 0xDFFF else chr(code_point)


_QUOTE = {version: _QuoteTable(version) for version in (13, NEWEST)}
_JSON = {short: _JsonTable(short) for short in (True, False)}


def quote_name(raw: bytes, dialect: Dialect = CURRENT) -> str:
    """The layer-1 text of a raw name."""
    if not raw.translate(None, _PLAIN_NAME):
        return raw.decode("ascii")
    return raw.decode("utf-8", "surrogateescape").translate(_QUOTE[dialect.unicode_version])


def unquote_name(text: str) -> bytes:
    """The raw name behind a layer-1 text.  Raises ``Corrupt`` when the text cannot have come from quoting."""
    try:
        if "\\" not in text and '"' not in text and "\n" not in text:
            return text.encode()
        return b"".join(_pieces(text))
    except UnicodeEncodeError:
        raise Corrupt("a name holds a lone surrogate", kind="tree") from None


def _pieces(text: str) -> list[bytes]:
    pieces, end = [], 0
    for match in _ESCAPE.finditer(text):
        pieces.append(_verbatim(text[end : match.start()]))
        pieces.append(_unescape(match))
        end = match.end()
    pieces.append(_verbatim(text[end:]))
    return pieces


def _verbatim(text: str) -> bytes:
    if '"' in text or "\n" in text:
        raise Corrupt("a name holds an unescaped quote or line break", kind="tree")
    return text.encode()


def _unescape(match: re.Match[str]) -> bytes:
    short, two_hex, octal, four_hex, eight_hex, _ = match.groups()
    if short:
        return _UNSHORT[short]
    if two_hex:
        return bytes([int(two_hex, 16)])
    if octal:
        return bytes([int(octal, 8)])
    if four_hex or eight_hex:
        code_point = int(four_hex or eight_hex, 16)
        if code_point <= 0x10FFFF and not 0xD800 <= code_point <= 0xDFFF:
            return chr(code_point).encode()
    raise Corrupt(f"a name holds the impossible escape {match.group()!a}", kind="tree")


def json_string(text: str | bytes, dialect: Dialect = CURRENT) -> bytes:
    """Text as a JSON string with its quotes.  Each byte that is no UTF-8 becomes ``\\ufffd`` and is lost."""
    if isinstance(text, bytes):
        if not text.translate(None, _PLAIN_JSON):
            return b'"%b"' % text
        text = text.decode("utf-8", "surrogateescape")
    if _JSON_SPECIAL(text):
        text = text.translate(_JSON[dialect.short_escapes])
    return b'"%b"' % text.encode()


def name_json(raw: bytes, dialect: Dialect = CURRENT) -> bytes:
    """Both layers at once: a raw name as it stands in a tree.  Called once a file."""
    if not raw.translate(None, _PLAIN_JSON):
        return b'"%b"' % raw
    return json_string(quote_name(raw, dialect), dialect)

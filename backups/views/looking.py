"""What of a file can be shown: told from its first bytes, never from its name."""

from __future__ import annotations

from dataclasses import dataclass

_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_LEAST_TEXT = 0.95
_LONGEST_LINE = 20_000


@dataclass(slots=True)
class Look:
    """``picture`` is a content type that browsers draw and cannot run; ``text`` is None for what is no text."""

    picture: str = ""
    text: str | None = None


def look_at(content: bytes) -> Look:
    """Return what can be shown of the beginning of a file."""
    for mark, kind in _PICTURES:
        if content.startswith(mark):
            return Look(picture=kind)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return Look(picture="image/webp")
    return Look(text=_text(content))


def _text(content: bytes) -> str | None:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = content.decode("utf-16", "replace")
    elif b"\0" in content:
        return None
    else:
        text = content.decode("utf-8", "replace")
    printable = sum(letter.isprintable() or letter in "\n\r\t" for letter in text)
    if text and printable < _LEAST_TEXT * len(text):
        return None
    lines = (line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + "…" for line in text.split("\n"))
    return "\n".join(lines)

"""Changes inputs a little, at random: bytes, numbers, and the values of a JSON document."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

LONGEST = 64 * 1024
"""Bytes; longer inputs find nothing that shorter ones do not."""

_NUMBERS = (0, 1, 2, 31, 32, 255, 256, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 10**30)
_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 1.5, 1e300,
    "", "0", "..", ".", "/", "a/b", "\0", "\\", "\\x", "\\ud800", '"', "\n", "é", "\x1b", "0" * 64, "f" * 64,
    "F" * 64, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999-23:59", "0000-02-29T00:00:00Z",
    [], {}, [[]], [None], {"": None}, *_NUMBERS,
)  # fmt: skip


class Mutator:
    """Makes variants of byte strings.  ``words`` are pieces that mean something to the parser."""

    def __init__(self, rng: random.Random, words: Sequence[bytes] = ()) -> None:
        self._rng = rng
        self._words = [*words, b"\0", b"\xff", b'"', b"\\", b"{", b"}", b"[", b"]", b","]
        self._ways: list[Callable[[bytes], bytes]] = [
            self._flip, self._set, self._insert, self._remove, self._repeat, self._word, self._number, self._digits,
            self._cut,
        ]  # fmt: skip

    def mutate(self, data: bytes, other: bytes = b"") -> bytes:
        """Return a variant of ``data``, which may take parts from ``other``."""
        if self._rng.random() < 0.4:
            changed = self._json(data, other)
            if changed is not None:
                return changed[:LONGEST]
        for _ in range(self._rng.choice((1, 1, 1, 2, 4, 8))):
            if other and self._rng.random() < 0.05:
                data = self._splice(data, other)
            else:
                data = self._rng.choice(self._ways)(data)
        return data[:LONGEST]

    # ------------------------------------------------------------------ bytes

    def _place(self, data: bytes) -> int:
        return self._rng.randrange(len(data) + 1)

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return b"\0"
        at = self._rng.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self._rng.randrange(8)]) + data[at + 1 :]

    def _set(self, data: bytes) -> bytes:
        at = self._place(data)
        return (
            data[:at]
            + bytes([self._rng.choice((0, 1, 2, 3, 127, 128, 255, self._rng.randrange(256)))])
            + data[at + 1 :]
        )

    def _insert(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + self._rng.randbytes(self._rng.choice((1, 2, 4, 40))) + data[at:]

    def _remove(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + data[at + self._rng.choice((1, 2, 4, 32, 41)) :]

    def _repeat(self, data: bytes) -> bytes:
        at, length = self._place(data), self._rng.choice((1, 8, 37, 41, 200))
        return data[:at] + data[at : at + length] * self._rng.choice((2, 3, 50)) + data[at + length :]

    def _word(self, data: bytes) -> bytes:
        at, word = self._place(data), self._rng.choice(self._words)
        return data[:at] + word + data[at + self._rng.choice((0, len(word))) :]

    def _number(self, data: bytes) -> bytes:
        at, size = self._place(data), self._rng.choice((1, 2, 4, 8))
        number = self._rng.choice(_NUMBERS) & (1 << 8 * size) - 1
        return data[:at] + number.to_bytes(size, self._rng.choice(("little", "big"))) + data[at + size :]

    def _digits(self, data: bytes) -> bytes:
        places = [at for at, byte in enumerate(data[:4096]) if 48 <= byte <= 57]
        if not places:
            return self._flip(data)
        at = self._rng.choice(places)
        return data[:at] + str(self._rng.choice(_NUMBERS)).encode() + data[at + 1 :]

    def _cut(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] if self._rng.random() < 0.5 else data[at:]

    def _splice(self, data: bytes, other: bytes) -> bytes:
        return data[: self._place(data)] + other[self._place(other) :]

    # ------------------------------------------------------------------ JSON

    def _json(self, data: bytes, other: bytes) -> bytes | None:
        """Return the document with some values changed; None if it is none."""
        try:
            whole = json.loads(data)
            spare = json.loads(other) if other else None
        except (ValueError, RecursionError):
            return None
        holder = [whole]
        for _ in range(self._rng.choice((1, 1, 2, 4))):
            self._change(holder, spare)
        try:
            return json.dumps(holder[0], separators=(",", ":")).encode()
        except (ValueError, RecursionError):
            return None

    def _change(self, holder: list[Any], spare: Any) -> None:
        inside, key = self._rng.choice(_slots(holder))
        value = inside[key]
        way = self._rng.randrange(7)
        if way == 0 and isinstance(inside, dict):
            del inside[key]
        elif way == 1 and isinstance(inside, list) and inside is not holder:
            inside.insert(key, value)
        elif way == 2 and isinstance(inside, dict):
            inside[self._rng.choice([*inside, "x"])] = value
        elif way == 3 and spare is not None:
            other_inside, other_key = self._rng.choice(_slots([spare]))
            inside[key] = other_inside[other_key]
        elif way == 4 and isinstance(value, str):
            raw = self._rng.choice(self._ways)(value.encode("utf-8", "surrogatepass"))
            inside[key] = raw.decode("utf-8", "replace")
        elif way == 5 and isinstance(value, int):
            inside[key] = value + self._rng.choice((-1, 1, 32, -value * 2, 2**32))
        else:
            inside[key] = self._rng.choice(_VALUES)


def _slots(holder: Any) -> list[tuple[Any, Any]]:
    """Every place of a document that holds a value, as (container, key)."""
    found: list[tuple[Any, Any]] = []
    waiting = [holder]
    while waiting and len(found) < 2000:
        here = waiting.pop()
        for key, value in here.items() if isinstance(here, dict) else enumerate(here):
            found.append((here, key))
            if isinstance(value, dict | list):
                waiting.append(value)
    return found

"""Which packs a check reads: all, a fixed part of them, or so many at random; and where it goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from backups.engine.errors import BadRequest
from backups.engine.layout import is_id

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_PART = re.compile(r"(\d{1,3})/(\d{1,3})").fullmatch
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%").fullmatch
_SIZE = re.compile(r"(\d{1,15})([KMGT]?)", re.IGNORECASE).fullmatch
_MOST_PARTS = 256


@dataclass(frozen=True, slots=True)
class Subset:
    """A choice of packs: ``part`` of ``parts``, or ``percent`` of them, or ``size`` bytes; everything by default."""

    part: int = 1
    parts: int = 1
    percent: float = 0.0
    size: int = 0

    @classmethod
    def parse(cls, text: str) -> Subset:
        """Read ``n/m``, ``p%`` or a size such as ``500M``.  Raises BadRequest."""
        if found := _PART(text):
            part, parts = int(found[1]), int(found[2])
            if 1 <= part <= parts <= _MOST_PARTS:
                return cls(part, parts)
        elif found := _PERCENT(text):
            if 0 < float(found[1]) <= 100:
                return cls(percent=float(found[1]))
        elif (found := _SIZE(text)) and int(found[1]):
            return cls(size=int(found[1]) * _UNITS[found[2].upper()])
        raise BadRequest(f"{text!r} is no subset: n/m with m up to 256, a percentage, or a size such as 500M")

    def choose(self, packs: Iterable[tuple[bytes, int]], seed: str) -> list[bytes]:
        """Return the ids of the packs to read, in order; ``packs`` are ids and sizes, ``seed`` decides by chance."""
        known = dict(packs)
        chosen = [pack for pack in known if pack[0] % self.parts == self.part - 1]
        if self.percent or self.size:
            chosen.sort(key=lambda pack: sha256(seed.encode() + pack).digest())
            if self.percent:
                chosen = chosen[: max(1, round(len(chosen) * self.percent / 100))]
            else:
                chosen = _first_bytes(chosen, known, self.size)
        return sorted(chosen)


def _first_bytes(packs: list[bytes], sizes: dict[bytes, int], limit: int) -> list[bytes]:
    total = 0
    for count, pack in enumerate(packs):
        if total >= limit:
            return packs[:count]
        total += sizes[pack]
    return packs


class Position(msgspec.Struct, frozen=True):
    """Where a check of the data stopped, to be stored as JSON: packs up to the id ``after`` are done (empty = none).

    A position is good for the same subset of the same repository; packs that came since with a smaller id
    are left to the next round.
    """

    repository: str
    after: str
    seed: str = ""
    part: int = 1
    parts: int = 1
    percent: float = 0.0
    size: int = 0

    @property
    def subset(self) -> Subset:
        """The choice of packs this position is in."""
        return Subset(self.part, self.parts, self.percent, self.size)

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` takes."""
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, value: Any) -> Position:
        """Read a stored position.  Raises BadRequest."""
        try:
            position = msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise BadRequest(f"not the position of a check: {error}") from error
        if not (is_id(position.after) or not position.after) or not 1 <= position.part <= position.parts <= _MOST_PARTS:
            raise BadRequest("not the position of a check")
        return position

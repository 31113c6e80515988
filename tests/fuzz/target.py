"""One parser under fuzz."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """One parser: inputs to begin with, what is done with any input, and words that mean something in it.

    ``run`` may raise ``EngineError``; anything else is a finding.  What it accepts has to obey the rules the rest of
    the engine relies on, which it asserts.
    """

    seeds: Callable[[], list[bytes]]
    run: Callable[[bytes], None]
    words: tuple[bytes, ...] = ()

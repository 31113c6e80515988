"""Looks for inputs that make a parser do something new, and for those that break it.

An input is kept when it reaches a line of the engine, or a kind of refusal, that no earlier one did; kept inputs are
what the next ones are made from.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import backups.engine
from backups.engine.errors import EngineError
from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import TARGETS, load_corpus, seeded

KEPT, KEPT_INPUTS = 1024, 40
"""Bytes of the longest input that is kept in the repository, and how many of them for a target."""
SLOW = 10.0
"""Seconds of the processor after which an input counts as an endless one."""

_ENGINE = str(Path(backups.engine.__file__).parent)
_VARIABLE = re.compile(r"[0-9a-f]{6,}|\d+|'.*'|\".*\"")


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that a target did not take as it should."""

    target: str
    data: bytes
    error: str


@dataclass(slots=True)
class Explored:
    """What came of one target: how many inputs were tried, those worth keeping, and those that broke it."""

    tried: int = 0
    kept: list[bytes] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    features: set[object] = field(default_factory=set)


def attempt(name: str, data: bytes) -> tuple[str, str]:
    """Give an input to a target; return (refusal, error), both empty if it was taken."""
    began = time.process_time()
    try:
        TARGETS[name].run(data)
        refusal = ""
    except EngineError as error:
        refusal = f"{type(error).__name__}: {_VARIABLE.sub('#', str(error))[:80]}"
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return "", f"{type(error).__name__}: {error}"[:300]
    took = time.process_time() - began
    return refusal, f"took {took:.0f} seconds" if took > SLOW else ""


def explore(
    name: str, *, seed: int, seconds: float = 0.0, inputs: int = 0, traced: bool = True, limit: int = 5
) -> Explored:
    """Try variants until the time is over, or so many inputs were tried, or ``limit`` of them were findings."""
    target, rng = TARGETS[name], seeded(name, seed)
    mutator = Mutator(rng, target.words)
    result = Explored()
    begin = [*target.seeds(), *load_corpus(name)]
    for data in begin:
        _try(name, data, result, traced=traced, keep=True)
    pool = result.kept if traced else begin
    end = time.monotonic() + seconds
    while (time.monotonic() < end or result.tried < inputs) and len(result.findings) < limit:
        data = mutator.mutate(rng.choice(pool), rng.choice(pool))
        _try(name, data, result, traced=traced, keep=False)
    return result


def _try(name: str, data: bytes, result: Explored, *, traced: bool, keep: bool) -> None:
    result.tried += 1
    features: set[object] = set()
    refusal, error = _traced(lambda: attempt(name, data), features) if traced else attempt(name, data)
    if error:
        result.findings.append(Finding(name, data, error))
        return
    features.add(refusal)
    if (keep and traced) or not features <= result.features:
        result.features |= features
        result.kept.append(data)


def _traced(call: Callable[[], tuple[str, str]], lines: set[object]) -> tuple[str, str]:
    """Call, and note every line of the engine that was run."""
    inside: dict[CodeType, bool] = {}

    def enter(frame: FrameType, _event: str, _arg: object) -> Any:
        code = frame.f_code
        if code not in inside:
            inside[code] = code.co_filename.startswith(_ENGINE)
        return note if inside[code] else None

    def note(frame: FrameType, _event: str, _arg: object) -> Any:
        lines.add((frame.f_code, frame.f_lineno))
        return note

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        return call()
    finally:
        sys.settrace(before)


def smallest(name: str, inputs: list[bytes]) -> list[bytes]:
    """Of these inputs a few short ones that together reach all that they all do."""
    reached: list[tuple[bytes, set[object]]] = []
    for data in sorted({data for data in inputs if len(data) <= KEPT}, key=lambda data: (len(data), data)):
        features: set[object] = set()
        refusal, error = _traced(lambda data=data: attempt(name, data), features)  # type: ignore[misc]
        if not error:
            reached.append((data, {*features, refusal}))
    have: set[object] = set()
    chosen = []
    for data, features in reached:
        if not features <= have:
            have |= features
            chosen.append(data)
    return chosen[:KEPT_INPUTS]


def shorten(finding: Finding) -> Finding:
    """Return a shorter input that breaks the target in the same way."""
    kind = finding.error.split(":")[0]
    if kind.startswith("took"):
        return finding
    data, step = finding.data, max(1, len(finding.data) // 2)
    while step:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + step :]
            if attempt(finding.target, shorter)[1].split(":")[0] == kind:
                data = shorter
            else:
                at += step
        step //= 2
    return Finding(finding.target, data, attempt(finding.target, data)[1])

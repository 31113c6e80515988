"""What is fuzzed: every parser of the engine, each as "these bytes, and then what a program does with the result"."""

from __future__ import annotations

import random
from pathlib import Path

from tests.fuzz.objects import OBJECTS
from tests.fuzz.target import Target
from tests.fuzz.trees import TREES

TARGETS: dict[str, Target] = {**OBJECTS, **TREES}
CORPUS = Path(__file__).parent / "corpus"


def load_corpus(name: str) -> list[bytes]:
    """The inputs kept for a target: one a line, as Python writes them."""
    file = CORPUS / f"{name}.txt"
    if not file.exists():
        return []
    lines = file.read_text(encoding="ascii").splitlines()
    return [line.encode("ascii").decode("unicode_escape").encode("latin-1") for line in lines]


def save_corpus(name: str, inputs: list[bytes]) -> None:
    """Keep these inputs for a target, in an order that makes small differences."""
    CORPUS.mkdir(exist_ok=True)
    lines = sorted({data.decode("latin-1").encode("unicode_escape").decode("ascii") for data in inputs})
    (CORPUS / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def seeded(name: str, seed: int) -> random.Random:
    """The random numbers of one run of a target."""
    return random.Random(f"{name} {seed}")

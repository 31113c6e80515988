"""Whatever a stranger put into a repository is refused by name, or does no harm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tests
from tests.fuzz.explore import Finding, attempt, explore, shorten
from tests.fuzz.targets import TARGETS, load_corpus, save_corpus

ROOT = Path(tests.__file__).parents[1]
MINUTES = float(os.environ.get("FUZZ_MINUTES", "15"))
"""How long the long form takes in all."""
SLOW = {"index": 150, "mended-tree": 40, "restored-tree": 40, "tree": 200}
"""Targets that do much with each input, and how many of them the quick form tries."""


@pytest.mark.parametrize("name", TARGETS)
def test_what_once_reached_something_is_taken_or_refused(name: str) -> None:
    assert load_corpus(name), "run python -m tests.fuzz --save"
    for data in load_corpus(name):
        assert attempt(name, data)[1] == "", data


@pytest.mark.parametrize("name", TARGETS)
def test_variants_are_taken_or_refused(name: str) -> None:
    done = explore(name, seed=0, inputs=SLOW.get(name, 600), traced=False)
    assert [shorten(finding) for finding in done.findings] == []
    assert done.tried >= min(SLOW.get(name, 600), 40)


def test_a_parser_that_breaks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def brittle(data: bytes) -> None:
        if data.count(b"}") > 1:
            raise KeyError("two")

    target = TARGETS["lock"]
    monkeypatch.setitem(TARGETS, "lock", type(target)(target.seeds, brittle))
    done = explore("lock", seed=0, inputs=2000, limit=1)
    (found,) = map(shorten, done.findings)
    assert found == Finding("lock", b"}}", "KeyError: 'two'")


def test_a_corpus_is_read_as_it_was_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.fuzz.targets.CORPUS", tmp_path / "kept")
    inputs = [bytes(range(256)), b"", b"\n\\n", "\u2028é".encode()]
    save_corpus("x", inputs)
    assert sorted(load_corpus("x")) == sorted(inputs)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_for_a_long_time() -> None:
    """FUZZ_MINUTES=60 for an hour; in a process of its own, whose memory is limited."""
    seed = os.environ.get("FUZZ_SEED", str(os.getpid()))
    command = [sys.executable, "-m", "tests.fuzz", "--minutes", str(MINUTES), "--seed", seed]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(f"seed {seed}\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr

"""Hundreds of kills of every verb that changes a repository."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.interop.killing import VERBS, Playground, kill_in_the_middle
from tests.interop.ours import new_repository
from tests.peers import Restic

pytestmark = pytest.mark.soak

SEEDS = range(2)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("verb", VERBS)
def test_killed_hundreds_of_times(tmp_path: Path, newest_restic: Restic, verb: str, seed: int) -> None:
    play = Playground(new_repository(tmp_path), newest_restic, random.Random(f"{verb} {seed}"), scale=2)
    play.fill()
    play.backup()
    kill_in_the_middle(play, verb, 20, real_every=2, stock_every=2)
    assert play.kills >= 5

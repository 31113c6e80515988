"""Two writers, a reader and a pruner for minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.crowd import Crowd
from tests.interop.ours import new_repository
from tests.peers import Restic

pytestmark = pytest.mark.soak


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [1, 2])
def test_everybody_at_once_for_long(tmp_path: Path, newest_restic: Restic, seed: int) -> None:
    crowd = Crowd(new_repository(tmp_path), newest_restic, seed=seed)
    crowd.work(25, seconds=1100)
    crowd.assert_nothing_lost()
    print(dict(crowd.done))

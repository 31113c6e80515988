"""Two writers, a reader and a pruner at once, of both programs: nothing is lost."""

from __future__ import annotations

from pathlib import Path

from tests.interop.crowd import Crowd
from tests.interop.ours import new_repository
from tests.peers import Restic


def test_everybody_at_once(tmp_path: Path, newest_restic: Restic) -> None:
    crowd = Crowd(new_repository(tmp_path), newest_restic)
    crowd.work(2, seconds=200)
    crowd.assert_nothing_lost()
    assert crowd.announced.keys() == {"ours", "stock"}

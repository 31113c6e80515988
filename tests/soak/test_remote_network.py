"""Large backups and restores through bad networks, and from far away.

``SOAK_SCALE=0.1`` makes them a tenth as large, for a look.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.bad_network import FAULTS, Size, endure
from tests.contract.few_requests import check_few, second_run
from tests.contract.remotes import REMOTES, make_tree

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

SCALE = float(os.environ.get("SOAK_SCALE", "1"))
LARGE = Size(files=int(100_000 * SCALE), file_size=20_000, pack=16, limit=1500)


@pytest.fixture(scope="module")
def large_tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    tree = make_tree(tmp_path_factory.mktemp("network") / "tree", files=LARGE.files, size=LARGE.file_size)
    yield tree
    shutil.rmtree(tree)


# One at a time for each kind: the object store keeps what it has in memory.
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.xdist_group(f"net-{kind}")) for kind in REMOTES])
@pytest.mark.parametrize("fault", FAULTS)
def test_two_gigabytes_go_and_come_through_a_bad_network(
    kind: str, fault: str, tmp_path: Path, large_tree: Path
) -> None:
    endure(kind, fault, LARGE, tmp_path, large_tree)


def test_a_large_account_with_few_changes_is_backed_up_over_ftp_in_three_minutes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Disk for ten gigabytes.
    run = second_run(tmp_path, files=int(100_000 * SCALE), size=50_000, pack=16, round_trip=0.06, limit=900)
    with capsys.disabled():
        print(f"\n{run.told()}")
    check_few(run)
    assert run.seconds < 180, run.told()

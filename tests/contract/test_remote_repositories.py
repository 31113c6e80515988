"""Repositories on real servers: ours and stock restic's read each other's; a bad network makes no false green."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.contract.bad_network import FAULTS, Size, endure
from tests.contract.few_requests import check_few, second_run
from tests.contract.remote_engine import PASSWORD, Ours
from tests.contract.remotes import REMOTES, Remote, make_tree, same, sftp_remote
from tests.peers import Restic


@pytest.fixture(params=["sftp", "s3", "ftp"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    return REMOTES[request.param](tmp_path)


def test_stock_restic_opens_checks_and_restores_what_we_wrote(
    remote: Remote, tmp_path: Path, newest_restic: Restic
) -> None:
    tree = make_tree(tmp_path / "tree")
    ours = Ours(remote.location("127.0.0.1"), remote.env, tmp_path)
    ours.done("init")
    ours.done("backup", tree)
    (tree / "d1/new").write_bytes(b"second snapshot")
    ours.done("backup", tree)

    def stock(*arguments: str | Path) -> None:
        newest_restic.run(remote.restic, *remote.restic_options, *arguments, password=PASSWORD, env=remote.restic_env)

    stock("check", "--read-data")
    stock("restore", "latest", "--target", tmp_path / "out")
    assert same(tree, tmp_path / "out" / tree.relative_to("/"))
    stock("backup", tree)
    stock("forget", "--keep-last", "1", "--prune")
    ours.done("check", "--read-data")
    ours.done("restore", "latest", "-t", tmp_path / "back")
    assert same(tree, tmp_path / "back" / tree.relative_to("/"))


SMALL = Size(files=600, file_size=1500, pack=4, limit=300)


@pytest.fixture(scope="session")
def small_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("network") / "tree", files=SMALL.files, size=SMALL.file_size)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_backup_and_a_restore_through_a_bad_network_end_well_or_not_green(
    fault: str, tmp_path: Path, small_tree: Path
) -> None:
    def go(kind: str) -> None:
        (tmp_path / kind).mkdir()
        try:
            endure(kind, fault, SMALL, tmp_path / kind, small_tree)
        except BaseException as error:
            error.add_note(f"over {kind}")
            raise

    # Side by side, as most of the time is spent with waiting.
    with ThreadPoolExecutor(len(REMOTES)) as pool:
        list(pool.map(go, REMOTES))


def test_few_commands_over_ftp_and_no_listing_of_the_repository(tmp_path: Path) -> None:
    check_few(second_run(tmp_path, files=5000, size=5000, pack=4, round_trip=0.06))


def test_a_full_upload_leaves_nothing_in_the_workspace(tmp_path: Path) -> None:
    remote = sftp_remote(tmp_path)
    tree = make_tree(tmp_path / "tree", files=200)
    ours = Ours(remote.location("127.0.0.1"), remote.env, tmp_path)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    ours.done("init")
    ours.done("--workspace", workspace, "backup", "--pack-size", "4", tree)
    assert [path for path in workspace.rglob("*") if path.is_file()] == []
    assert os.listdir(tree)

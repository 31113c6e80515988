"""What a run of an account with few changes costs over FTP from far away."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

from tests.contract.remote_engine import Ours
from tests.contract.remotes import ftp_remote, make_tree
from tests.fakes.proxy import Proxy

LOG_IN = {"USER", "PASS", "FEAT", "OPTS", "TYPE"}


@dataclass
class Run:
    """What was seen on the wire, and how long it took (seconds)."""

    commands: list[str]
    packs: int
    changed: int
    sent: int
    seconds: float

    def listings(self) -> list[str]:
        """The listings of what holds the data; the whole repository is nearly all data."""
        folders = [line for line in self.commands if line.startswith(("MLSD", "LIST", "NLST"))]
        return [line for line in folders if not line.rstrip("/").endswith(("/locks", "/snapshots", "/index", "/keys"))]

    def told(self) -> str:
        return (
            f"{self.changed / 1e6:.1f} MB changed, {self.packs} packs, {len(self.commands)} commands after log-in, "
            f"{self.sent / 1e6:.1f} MB sent, {self.seconds:.1f} s"
        )


def change_one_in_a_hundred(tree: Path, seed: int = 9) -> int:
    """Write every hundredth file anew, as large as it was; return the bytes."""
    rng = random.Random(seed)
    changed = 0
    files = sorted((file for file in tree.rglob("*") if file.is_file()), key=lambda file: int(file.name[5:]))
    for file in files[7::100]:
        size = file.stat().st_size
        file.write_bytes(rng.randbytes(size))
        changed += size
    return changed


def second_run(folder: Path, *, files: int, size: int, pack: int, round_trip: float, limit: float = 120) -> Run:
    """Back an account up, change one file in a hundred, and back it up again over a line with ``round_trip``."""
    remote = ftp_remote(folder)
    port = remote.ports[0]
    tree = make_tree(folder / "tree", files=files, size=size)
    with Proxy(remote.ports, listen_to=[port]) as proxy:
        ours = Ours(remote.location(proxy.address), {**remote.env, "HOLDFAST_CONNECTIONS": "3"}, folder)
        ours.done("init")
        first = ours.run("backup", "--pack-size", str(pack), tree, timeout=limit * 5)
        assert first.returncode == 0, first.stderr[-3000:]
        changed = change_one_in_a_hundred(tree)
        proxy.traffic.spoken[port].clear()
        proxy.traffic.up = 0
        proxy.faults.delay = round_trip / 2
        began = time.monotonic()
        second = ours.run("backup", "--pack-size", str(pack), tree, timeout=limit)
        seconds = time.monotonic() - began
        assert second.returncode == 0, second.stderr[-3000:]
        commands = [line for line in proxy.commands(port) if line.split()[0] not in LOG_IN]
    remote.clean()
    packs = sum(line.startswith("RNTO") and "/data/" in line for line in commands)
    return Run(commands, packs, changed, proxy.traffic.up, seconds)


def check_few(run: Run) -> None:
    """Hold a run against what was promised."""
    assert run.packs >= 1
    assert len(run.commands) <= 60 + 7 * run.packs, run.told()
    assert run.sent <= 1.2 * run.changed + 2_000_000, run.told()
    assert not run.listings(), run.listings()[:5]

"""A backup and a restore of the engine through a network that does harm; what has to hold at their end."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.contract.remote_engine import Ours
from tests.contract.remotes import REMOTES, same
from tests.fakes.proxy import Faults, Proxy

HARMFUL = ("cut", "stall", "corrupt")
FAULTS = ("delay-60", "delay-300", "throttle", *HARMFUL)


@dataclass(frozen=True)
class Size:
    """How large the tree is, and which packs it goes into."""

    files: int
    file_size: int
    pack: int
    """MiB"""
    limit: float
    """Seconds that one verb may take."""

    @property
    def total(self) -> int:
        return self.files * self.file_size


def faults_of(kind: str, size: Size) -> Faults:
    """Return what the network does; cuts and stalls come some times in a run, whatever its size."""
    share = size.total // 6
    return {
        "delay-60": Faults(delay=0.03),
        "delay-300": Faults(delay=0.15),
        "throttle": Faults(rate=max(2_000_000, size.total / 60)),
        "cut": Faults(cut_after=share, cuts_left=5),
        "stall": Faults(stall_after=share, stalls_left=2),
        "corrupt": Faults(corrupt_from=10_000, corrupt_chance=min(0.2, 5e6 / size.total), corruptions_left=5),
    }[kind]


def endure(kind: str, fault: str, size: Size, folder: Path, tree: Path) -> None:
    """Back ``tree`` up to ``kind`` and restore it while ``fault`` lasts: green with everything there, or not green."""
    remote = REMOTES[kind](folder)
    out = folder / "out"
    with Proxy(remote.ports, seed=11) as proxy:
        env = {**remote.env, "HOLDFAST_TIMEOUT": "3", "HOLDFAST_RETRIES": "12", "HOLDFAST_CONNECTIONS": "3"}
        ours = Ours(remote.location(proxy.address), env, folder)
        ours.done("init")
        proxy.faults.__dict__.update(vars(faults_of(fault, size)))
        backup = ours.run("--workers", "1", "backup", "--pack-size", str(size.pack), tree, timeout=size.limit)
        restore = ours.run("--workers", "1", "restore", "latest", "-t", out, timeout=size.limit)
        harm = proxy.traffic.cuts + proxy.traffic.corruptions + proxy.traffic.stalls
        proxy.heal()
        assert harm or fault not in HARMFUL, "the network did no harm at all"
        if fault != "corrupt":
            assert backup.returncode == 0, backup.stderr[-3000:]
            assert restore.returncode == 0, restore.stderr[-3000:]
        check = ours.run("check", "--read-data", timeout=size.limit)
        assert check.returncode == 0, check.stdout[-3000:] + check.stderr[-3000:]
        if restore.returncode == 0:
            assert backup.returncode == 0, "a restore of what was never backed up"
            assert same(tree, out / tree.relative_to("/"))
        elif backup.returncode == 0:
            shutil.rmtree(out, ignore_errors=True)
            again = ours.run("restore", "latest", "-t", out, timeout=size.limit)
            assert again.returncode == 0, again.stderr[-3000:]
            assert same(tree, out / tree.relative_to("/"))
    shutil.rmtree(out, ignore_errors=True)
    remote.clean()

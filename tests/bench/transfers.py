"""Transfers over loopback: each driver beside the best client for its kind, and first backups beside restic's."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from destinations.storage.config import Config, S3Config, to_plain
from tests.bench.datasets import Library
from tests.bench.engines import PASSWORD, ROOT, inherited, newest_restic
from tests.bench.engines import Place as Folders
from tests.bench.measure import Cost, measure
from tests.bench.report import aligned
from tests.bench.runner import read_everything
from tests.contract.places import ftp_config, make_bucket, s3_config, sftp_config
from tests.contract.remotes import Remote, s3_remote, sftp_remote
from tests.fetch import cache_folder

GOAL = 0.85
"""Of the best client's throughput, at least."""
RESTIC_GOAL = 0.7
"""Of restic's wall time for a first backup, at most."""
CLIENT_VERSIONS = {"asyncssh": "2.24.1", "obstore": "0.12.1"}
RIVALS = {"ftp": ["ftplib"], "ftps": ["ftplib"], "sftp": ["paramiko", "asyncssh"], "s3": ["boto3", "obstore"]}
PACK = 16 << 20


@dataclass
class Kind:
    """A kind of destination: its settings, and what was measured, in MB/s and CPU milliseconds for each 16 MiB."""

    name: str
    config: Config
    rates: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    cpu: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def take(self, client: str, count: int, taken: dict[str, float]) -> None:
        for way in ("put", "get"):
            self.rates.setdefault((client, way), []).append(count * PACK / 1e6 / taken[way])
            self.cpu.setdefault((client, way), []).append(taken[f"{way}_cpu"] / count * 1000)

    def rows(self) -> Iterator[tuple[str, str, list[float]]]:
        """Yield way, best rival, and the medians: our rate and CPU, its rate and CPU."""
        for way in ("put", "get"):
            rivals = [name for name, its_way in self.rates if its_way == way and name != "holdfast"]
            best = max(rivals, key=lambda name: statistics.median(self.rates[name, way]))
            figures = [found[name, way] for name in ("holdfast", best) for found in (self.rates, self.cpu)]
            yield way, best, [statistics.median(found) for found in figures]


def kinds(folder: Path) -> Iterator[Kind]:
    """Yield the kinds whose servers can run here.

    Other clients do not read back what they sent over plain FTP; so here our driver is told not to.
    """
    makers = {
        "ftp": lambda: ftp_config("pure-ftpd", folder, read_back=False),
        "ftps": lambda: ftp_config("pure-ftpd", folder, tls=True),
        "sftp": lambda: sftp_config("openssh", folder),
        "s3": lambda: s3_config("ceph-rgw", folder),
    }
    for name, make in makers.items():
        try:
            config: Config = make()
            if isinstance(config, S3Config):
                make_bucket(config)
        except pytest.skip.Exception as reason:
            print(f"bench: no {name} server here: {reason}", flush=True)
            continue
        yield Kind(name, config)


def client_python(name: str) -> str | None:
    """Return the Python that has a client; those that are no dependency get an environment in the cache folder."""
    if name not in CLIENT_VERSIONS:
        return sys.executable
    folder = cache_folder() / f"{name}-{CLIENT_VERSIONS[name]}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        wanted = f"{name}=={CLIENT_VERSIONS[name]}"
        if subprocess.run([python, "-m", "pip", "install", "--quiet", wanted], check=False).returncode:
            print(f"bench: {wanted} cannot be had; compared without it", flush=True)
            return None
        (folder / "ready").touch()
    return str(python)


def run_client(name: str, python: str, config: Config, count: int) -> dict[str, float]:
    """Run one client and return what it took."""
    work = {"config": to_plain(config, reveal=True), "count": count, "size": PACK}
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PYTHON"))}
    done = subprocess.run(
        [python, ROOT / "tests/bench/clients.py", name],
        input=json.dumps(work),
        capture_output=True,
        text=True,
        env={**variables, "PYTHONPATH": str(ROOT)},
        timeout=900,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
    taken: dict[str, float] = json.loads(done.stdout)
    return taken


def measure_throughput(folder: Path, scale: float, repetitions: int) -> list[str]:
    """Measure every client in turn, print the figures, and return the goals that were missed."""
    count = max(2, int(24 * scale))
    table = [["kind", "way", "ours MB/s", "cpu ms / 16 MiB", "best client", "MB/s", "cpu ms", "ratio", "goal", ""]]
    missed = []
    for kind in kinds(folder):
        pythons = {name: client_python(name) for name in RIVALS[kind.name]}
        runners = [("holdfast", sys.executable), *((name, found) for name, found in pythons.items() if found)]
        for repetition in range(repetitions):
            turn = repetition % len(runners)
            for name, python in runners[turn:] + runners[:turn]:
                kind.take(name, count, run_client(name, python, kind.config, count))
        for way, best, (ours, cpu, theirs, their_cpu) in kind.rows():
            ratio = ours / theirs
            word = "met" if round(ratio, 2) >= GOAL else "MISSED"
            figures = [f"{ours:.0f}", f"{cpu:.1f}", best, f"{theirs:.0f}", f"{their_cpu:.1f}", f"{ratio:.2f}"]
            table.append([kind.name, way, *figures, f"{GOAL}", word])
            if word == "MISSED":
                missed.append(f"{way} over {kind.name}: {ratio:.2f} of {best}'s throughput, goal {GOAL}")
    print("\n" + aligned(table) + "\n", flush=True)
    return missed


def _first_backup(engine: str, binary: Path | None, remote: Remote, source: Path, work: Path) -> Cost:
    """Make a repository and return what the first backup into it costs."""
    folders = Folders(source, work)
    for folder in (folders.cache, folders.temporary):
        folder.mkdir(parents=True)
    folders.password_file.write_text(PASSWORD)
    secret = ["--password-file", str(folders.password_file)]
    if engine == "holdfast":
        start = [sys.executable, "-m", "backups.engine", "--repo", remote.location("127.0.0.1"), *secret]
        own = {**remote.env, "PYTHONPATH": str(ROOT)}
    else:
        start = [str(binary), "-q", "-r", remote.restic, *remote.restic_options, *secret]
        own = {**remote.restic_env, "RESTIC_CACHE_DIR": str(folders.cache)}
    env = {**inherited(folders), **own}
    with (work / "log").open("ab") as log:
        made = measure([*start, "init"], env=env, cwd=source, log=log)
        read_everything(source)
        os.sync()
        cost = measure([*start, "backup", "."], env=env, cwd=source, log=log)
    if made.code or cost.code:
        raise RuntimeError(f"{engine} failed: {(work / 'log').read_text(errors='replace')[-2000:]}")
    return cost


def measure_first_backups(folder: Path, library: Library, repetitions: int) -> list[str]:
    """Measure first backups of ``site`` to SFTP and S3, ours and restic's in turn; return the missed goals."""
    binary = newest_restic()
    if binary is None:
        return []
    source = library.get("site").folder
    table = [["first backup to", "ours s", "cpu s", "restic s", "cpu s", "ratio", "goal", ""]]
    missed = []
    for name, remote_of in (("sftp", sftp_remote), ("s3", s3_remote)):
        costs: dict[str, list[Cost]] = {"holdfast": [], "restic": []}
        try:
            for repetition in range(repetitions):
                for engine in ("holdfast", "restic") if repetition % 2 == 0 else ("restic", "holdfast"):
                    work = folder / f"{name}-{repetition}-{engine}"
                    work.mkdir(parents=True)
                    remote = remote_of(work)
                    costs[engine].append(_first_backup(engine, binary, remote, source, work))
                    remote.clean()
        except pytest.skip.Exception as reason:
            print(f"bench: no {name} server here: {reason}", flush=True)
            continue
        ratio = statistics.median(
            ours.wall / theirs.wall for ours, theirs in zip(costs["holdfast"], costs["restic"], strict=True)
        )
        word = "met" if round(ratio, 2) <= RESTIC_GOAL else "MISSED"
        middle = [statistics.median(getattr(c, m) for c in costs[e]) for e in costs for m in ("wall", "cpu")]
        table.append([name, *(f"{value:.2f}" for value in middle), f"{ratio:.2f}", f"{RESTIC_GOAL}", word])
        if word == "MISSED":
            missed.append(f"first backup to {name}: {ratio:.2f} of restic's time, goal {RESTIC_GOAL}")
    print("\n" + aligned(table) + "\n", flush=True)
    return missed


def measure_transfers(folder: Path, library: Library, scale: float, repetitions: int) -> list[str]:
    """Measure all of it below ``folder``; return the goals that were missed."""
    work = folder / "transfers"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        missed = measure_throughput(work, scale, repetitions)
        return missed + measure_first_backups(work, library, repetitions)
    finally:
        shutil.rmtree(work, ignore_errors=True)

"""Prune decides as the newest stock restic does, pack by pack, on random repositories."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from backups.engine.blob import BlobType
from backups.engine.layout import SNAPSHOTS
from backups.engine.prune_plan import PruneOptions, PruneReport, Unused, parse_size, plan_prune
from backups.engine.repository import Repository
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import Writer, new_repository, noise, on_disk, reopened
from tests.peers import Restic


def make(objects: dict[str, bytes], rng: random.Random) -> Repository:
    """Packs of all kinds: used, thin, useless, unknown, compressed and not.

    No blob is stored twice: which copy stock counts as used is left to chance.
    """
    repository = new_repository(MemoryStore(objects))
    writer = Writer(repository, pack_blobs=rng.choice([2, 3, 5]))
    names = []
    for number in range(rng.randrange(4, 9)):
        writer.raw = rng.random() < 0.2
        files = {f"f{n}": noise(n, 100 * n + 100) for n in rng.sample(range(60), rng.randrange(1, 20))}
        files |= {f"t{n}": b"text %d " % n * 100 * n for n in rng.sample(range(20), 3)}
        names.append(writer.snapshot(files, time=f"2024-01-{number + 1:02d}T00:00:00Z"))
    for name in rng.sample(names, rng.randrange(1, len(names))):
        repository.remove_object(SNAPSHOTS, name)
    writer.blob(BlobType.DATA, noise(1000))
    writer.flush(index=rng.random() < 0.5)
    return reopened(repository)


def figures_of_stock(said: str) -> dict[str, int]:
    """What stock says it would do; what it does not mention is 0."""
    patterns = {
        "used": r"^used: +(\d+) blobs",
        "unused": r"^unused: +(\d+) blobs",
        "repacked": r"to repack: +(\d+) blobs",
        "repack_removed": r"this removes: +(\d+) blobs",
        "removed": r"to delete: +(\d+) blobs",
        "packs_used": r"totally used packs: +(\d+)",
        "packs_partly_used": r"partly used packs: +(\d+)",
        "packs_unused": r"unused packs: +(\d+)",
        "packs_kept": r"to keep: +(\d+) packs",
        "packs_repacked": r"to repack: +(\d+) packs",
        "packs_removed": r"to delete: +(\d+) packs",
        "packs_unreferenced": r"to delete: +(\d+) unreferenced packs",
    }
    found = {name: re.search(text, said, re.MULTILINE) for name, text in patterns.items()}
    return {name: int(match[1]) if match else 0 for name, match in found.items()}


def figures_of(report: PruneReport) -> dict[str, int]:
    sums = ("used", "unused", "repacked", "repack_removed", "removed")
    packs = [name for name in report.__struct_fields__ if name.startswith("packs_")]
    figures = {name: getattr(report, name).blobs for name in sums} | {name: getattr(report, name) for name in packs}
    return {name: figure for name, figure in figures.items() if name not in ("packs_missing", "packs_written")}


@pytest.mark.parametrize("seed", range(6))
def test_the_figures_are_those_of_stock(tmp_path: Path, newest_restic: Restic, seed: int) -> None:
    rng = random.Random(seed)
    objects: dict[str, bytes] = {}
    repository = make(objects, rng)
    path = on_disk(objects, tmp_path / "repository")
    for unused in ("0", "5%", "30%", "unlimited"):
        for smaller_than in ("1K", "6K", "1M"):
            for uncompressed in (False, True):
                flags = ["--max-unused", unused, "--repack-smaller-than", smaller_than, "-v"]
                flags += ["--repack-uncompressed"] if uncompressed else []
                said = newest_restic.run(path, "prune", "--dry-run", "--no-lock", *flags).stdout
                report = plan_prune(
                    repository,
                    PruneOptions(
                        max_unused=Unused.parse(unused),
                        repack_smaller_than=parse_size(smaller_than),
                        repack_uncompressed=uncompressed,
                    ),
                ).report
                assert figures_of(report) == figures_of_stock(said), (unused, smaller_than, uncompressed)

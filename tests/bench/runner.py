"""Runs the engines over a data set, in turn, and takes down what each step cost."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.changes import Changes, file_names
from tests.bench.datasets import Dataset
from tests.bench.engines import PASSWORD, Engine, Place
from tests.bench.measure import Cost, measure

# Step: the kind of command it is. Order matters.
STEPS = {
    "init": "init",
    "first": "backup",
    "unchanged": "backup",
    "changed": "backup",
    "restore": "restore",
    "check": "check",
    "check-data": "check-data",
    "changed-again": "backup",
    "prune": "prune",
}


@dataclass(frozen=True)
class Row:
    """One step of one engine in one repetition. Sizes in MB, memory in MiB, times in seconds."""

    dataset: str
    repetition: int
    engine: str
    version: str
    step: str
    code: int
    wall: float
    cpu: float
    memory: float
    repository: float

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class DifferentTree(Exception):
    """An engine restored something else than what it had backed up."""


def read_everything(folder: Path) -> None:
    """Bring a folder's files into the page cache."""
    buffer = bytearray(1 << 20)
    for top, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(top, name), "rb", buffering=0) as handle:
                while handle.readinto(buffer):
                    pass


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(os.lstat(os.path.join(top, name)).st_size for top, _, files in os.walk(folder) for name in files)


def compare(source: Path, target: Path) -> None:
    """Raise DifferentTree unless both folders hold the same files with the same bytes, modes and times."""
    names = file_names(source)
    if names != file_names(target):
        raise DifferentTree(f"{target}: not the same names as in {source}")
    for name in names:
        ours, theirs = source / name, target / name
        here, there = ours.stat(), theirs.stat()
        if (here.st_size, here.st_mode, here.st_mtime_ns) != (there.st_size, there.st_mode, there.st_mtime_ns):
            raise DifferentTree(f"{name}: size, mode or time differs")
        with ours.open("rb") as a, theirs.open("rb") as b:
            while block := a.read(1 << 20):
                if block != b.read(1 << 20):
                    raise DifferentTree(f"{name}: content differs")


class Runner:
    """Repetitions of every step, each engine on a fresh repository and cache."""

    def __init__(self, engines: Sequence[Engine], work: Path, steps: Sequence[str] = tuple(STEPS)) -> None:
        self.engines, self.work = list(engines), work
        self.steps = [step for step in STEPS if step in steps]
        self.failures: list[str] = []

    def run(self, dataset: Dataset, repetitions: int) -> Iterator[Row]:
        """Yield the rows of every engine; who begins changes from repetition to repetition."""
        for repetition in range(repetitions):
            first = repetition % len(self.engines)
            for engine in self.engines[first:] + self.engines[:first]:
                yield from self.repetition(dataset, engine, repetition)

    def repetition(self, dataset: Dataset, engine: Engine, number: int) -> Iterator[Row]:
        place = Place(dataset.folder, self.work / engine.name)
        shutil.rmtree(place.work, ignore_errors=True)
        for folder in (place.cache, place.target, place.temporary):
            folder.mkdir(parents=True)
        place.password_file.write_text(PASSWORD + "\n")
        changes = Changes(dataset, self.work / f"originals-{dataset.name}", seed=dataset.name)
        try:
            for step in self.steps:
                if step in ("changed", "changed-again"):
                    changes.day_passes(to_following=step == "changed")
                cost = self.step(engine, place, STEPS[step])
                size = size_of(place.repository) / 1e6
                yield Row(
                    dataset.name, number, engine.name, engine.version, step,
                    cost.code, round(cost.wall, 3), round(cost.cpu, 3), round(cost.memory, 1), round(size, 1),
                )  # fmt: skip
                if cost.code:
                    self.failures.append(f"{engine.name}: {step} of {dataset.name} ended with {cost.code}")
                    return
                if step == "restore" and number == 0:
                    self.verify(engine, dataset, place)
        finally:
            changes.take_back()
            shutil.rmtree(place.work, ignore_errors=True)

    def step(self, engine: Engine, place: Place, kind: str) -> Cost:
        """Warm the page cache with what the step reads, flush what was written before, and measure."""
        read_everything(place.source if kind == "backup" else place.repository)
        cwd = {"backup": place.source, "restore": place.target}.get(kind, place.work)
        commands = engine.commands(kind, place)
        os.sync()
        total = Cost(0, 0.0, 0.0, 0.0)
        with (self.work / "engines.log").open("ab") as log:
            for command in commands:
                total += measure(command, env=engine.environment(place), cwd=cwd, log=log)
        return total

    def verify(self, engine: Engine, dataset: Dataset, place: Place) -> None:
        """Hold what was restored against the source, once for each data set."""
        try:
            compare(dataset.folder, place.target)
        except DifferentTree as error:
            self.failures.append(f"{engine.name}: restore of {dataset.name}: {error}")

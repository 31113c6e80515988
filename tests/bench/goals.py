"""What is to be reached: ratios to a peer in one paired run, lower is better."""

from collections.abc import Iterator
from dataclasses import dataclass

BACKUPS = ("first", "unchanged", "changed")
SETS = ("site", "dump", "media", "many")


@dataclass(frozen=True)
class Goal:
    """At most `limit` times the peer's figure; `stretch` is what we are after, None where none was set."""

    dataset: str
    step: str
    metric: str
    peer: str
    limit: float
    stretch: float | None = None


def _restic_walls() -> Iterator[Goal]:
    table: dict[str, dict[str, tuple[float, float]]] = {
        "first": {
            "dump": (0.50, 0.35), "media": (0.55, 0.42), "site": (0.55, 0.35),
            "many": (0.85, 0.65), "eighth": (0.50, 0.32),
        },
        "unchanged": {"site": (0.40, 0.22), "many": (0.35, 0.20), "dump": (0.50, 0.35), "media": (0.50, 0.35)},
        "changed": {"site": (0.45, 0.28), "many": (0.40, 0.25), "dump": (0.50, 0.35)},
        "restore": {"dump": (0.65, 0.45), "media": (0.70, 0.50), "site": (0.70, 0.50), "many": (0.75, 0.55)},
        "check": {"site": (0.50, 0.30), "many": (0.60, 0.40)},
        "check-data": {"dump": (0.65, 0.50), "media": (0.65, 0.50), "site": (0.65, 0.45), "many": (0.75, 0.50)},
        "prune": dict.fromkeys(SETS, (0.60, 0.40)),
        "init": dict.fromkeys(SETS, (0.15, 0.08)),
    }  # fmt: skip
    for step, sets in table.items():
        for dataset, (limit, stretch) in sets.items():
            yield Goal(dataset, step, "wall", "restic", limit, stretch)


def _restic_others() -> Iterator[Goal]:
    for dataset, limit in {"dump": 0.52, "media": 0.55, "site": 0.55}.items():
        yield Goal(dataset, "first", "cpu", "restic", limit)
    memory = {"site": (1.2, 1.0), "dump": (1.2, 1.0), "media": (1.35, 1.1), "many": (0.8, 0.6)}
    for dataset, (limit, stretch) in memory.items():
        for step in BACKUPS:
            yield Goal(dataset, step, "memory", "restic", limit, stretch)
        yield Goal(dataset, "restore", "memory", "restic", 0.8, 0.6)
        yield Goal(dataset, "first", "repository", "restic", 1.0, 0.98)


def _borg() -> Iterator[Goal]:
    table: dict[str, dict[str, float]] = {
        "first": {"dump": 0.75, "media": 0.70, "site": 0.45, "many": 0.45, "eighth": 0.35},
        "unchanged": {"site": 0.30, "many": 0.18, "dump": 0.12, "media": 1.0},
        "changed": {"site": 0.32, "many": 0.20, "dump": 0.65},
        "restore": {"dump": 0.50, "media": 0.38, "site": 0.50, "many": 0.60},
        "check": {"site": 0.25, "many": 0.15},
        "check-data": {"dump": 0.60, "media": 0.60, "site": 0.45, "many": 0.25},
        "prune": dict.fromkeys(SETS, 1.2),
        "init": dict.fromkeys(SETS, 1.0),
    }
    for step, sets in table.items():
        for dataset, limit in sets.items():
            yield Goal(dataset, step, "wall", "borg", limit)
    yield Goal("dump", "first", "cpu", "borg", 1.35)
    for dataset in SETS:
        for step in BACKUPS:
            yield Goal(dataset, step, "memory", "borg", 0.8 if dataset == "many" else 2.0)
        yield Goal(dataset, "first", "repository", "borg", 1.0)


GOALS = (*_restic_walls(), *_restic_others(), *_borg())

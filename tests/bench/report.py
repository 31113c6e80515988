"""Medians, paired ratios, and which goals were met."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.bench.goals import GOALS, Goal
from tests.bench.runner import STEPS, Row

METRICS = ("wall", "cpu", "memory", "repository")
OURS = "holdfast"
SMALLEST = {"wall": 1e-3, "cpu": 1e-3, "memory": 0.1, "repository": 0.1}  # nothing is divided by less


@dataclass(frozen=True)
class Verdict:
    """A goal and the ratio that was measured: the median of the ratios within each repetition."""

    goal: Goal
    ratio: float

    @property
    def met(self) -> bool:
        return round(self.ratio, 2) <= self.goal.limit

    @property
    def word(self) -> str:
        if self.goal.stretch is not None and self.ratio <= self.goal.stretch:
            return "stretch"
        return "met" if self.met else "MISSED"


class Results:
    """Rows by data set, step, engine and repetition; failed steps are left out."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[tuple[str, str, str], dict[int, Row]] = defaultdict(dict)
        self.versions: dict[str, str] = {}
        for row in rows:
            self.versions[row.engine] = row.version
            if row.code == 0:
                self._rows[row.dataset, row.step, row.engine][row.repetition] = row

    def median(self, dataset: str, step: str, engine: str, metric: str) -> float | None:
        rows = self._rows.get((dataset, step, engine))
        return statistics.median(getattr(row, metric) for row in rows.values()) if rows else None

    def ratio(self, dataset: str, step: str, peer: str, metric: str) -> float | None:
        """Our figure by the peer's, within repetitions that both finished."""
        ours, theirs = self._rows.get((dataset, step, OURS), {}), self._rows.get((dataset, step, peer), {})
        pairs = [(getattr(ours[n], metric), getattr(theirs[n], metric)) for n in ours.keys() & theirs.keys()]
        least = SMALLEST[metric]
        return statistics.median(max(a, least) / max(b, least) for a, b in pairs) if pairs else None

    def verdicts(self) -> list[Verdict]:
        """Every goal for which both sides were measured."""
        ratios = ((goal, self.ratio(goal.dataset, goal.step, goal.peer, goal.metric)) for goal in GOALS)
        return [Verdict(goal, ratio) for goal, ratio in ratios if ratio is not None]

    def measured(self) -> list[tuple[str, str]]:
        """The (data set, step) pairs there are, in the order they ran."""
        sets = list(dict.fromkeys(dataset for dataset, _, _ in self._rows))
        pairs = {(dataset, step) for dataset, step, _ in self._rows}
        return [(dataset, step) for dataset in sets for step in STEPS if (dataset, step) in pairs]


def aligned(table: list[list[str]]) -> str:
    """A Markdown table with columns of even width."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in table
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def figures(results: Results) -> str:
    """What every engine needed for every step."""
    engines = list(results.versions)
    head = ["data", "step", *(f"{e} {results.versions[e]}: wall / cpu s, MiB, repo MB" for e in engines)]
    table = [head]
    for dataset, step in results.measured():
        cells = []
        for engine in engines:
            found = [results.median(dataset, step, engine, metric) for metric in METRICS]
            wall, cpu, memory, repository = (value or 0.0 for value in found)
            cells.append("-" if found[0] is None else f"{wall:.2f} / {cpu:.2f}, {memory:.0f}, {repository:.0f}")
        table.append([dataset, step, *cells])
    return aligned(table)


def ratios(results: Results) -> str:
    """Every paired ratio; beside it the goal, the stretch and the verdict where one was set."""
    verdicts: Mapping[tuple[str, str, str, str], Verdict] = {
        (v.goal.dataset, v.goal.step, v.goal.metric, v.goal.peer): v for v in results.verdicts()
    }
    table = [["data", "step", "figure", "peer", "ratio", "goal", "stretch", ""]]
    for dataset, step in results.measured():
        for peer in (name for name in results.versions if name != OURS):
            for metric in METRICS:
                ratio = results.ratio(dataset, step, peer, metric)
                verdict = verdicts.get((dataset, step, metric, peer))
                if ratio is None or (verdict is None and metric not in ("wall", "cpu")):
                    continue
                goal = f"{verdict.goal.limit:.2f}" if verdict else ""
                stretch = f"{verdict.goal.stretch:.2f}" if verdict and verdict.goal.stretch else ""
                word = verdict.word if verdict else ""
                table.append([dataset, step, metric, peer, f"{ratio:.2f}", goal, stretch, word])
    return aligned(table)

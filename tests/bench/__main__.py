"""Compare this engine with restic and borg on generated data.

Exits with 1 when a goal is missed, with 2 when an engine failed.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path

from tests.bench.datasets import NAMES, Library
from tests.bench.engines import ROOT, Engine, borg, holdfast, install_borg, newest_restic, restic
from tests.bench.index_memory import measure_index
from tests.bench.report import Results, Verdict, figures, ratios
from tests.bench.runner import STEPS, Row, Runner
from tests.bench.transfers import measure_transfers
from tests.fetch import NotObtainable

REPETITIONS = {"many": 1}  # a repetition of it takes minutes
USUAL = 3
INDEX = "index"  # no data set, but the memory of a large index
TRANSFERS = "transfers"  # the drivers beside other clients, and first backups to SFTP and S3
BLOBS = 10_000_000  # in that index at scale 1
ALL = (*NAMES, INDEX, TRANSFERS)
NEEDED = 12e9  # bytes of disk at scale 1: data, a repository, a restored copy


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("data", nargs="*", help=f"data sets, of: {', '.join(ALL)}; all unless named")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the data; goals are set for 1")
    parser.add_argument("--reps", type=int, help="repetitions of each data set")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--steps", default=",".join(STEPS), help="steps to measure, of: " + ", ".join(STEPS))
    parser.add_argument("--engines", default="holdfast,restic,borg", help="engines to run, those that are found")
    parser.add_argument("--restic", type=Path, help="a restic program, instead of the newest of Debian's")
    parser.add_argument("--borg", help="a borg program, or 'install' to build one")
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "bench", help="for data and work")
    parser.add_argument("--report", type=Path, metavar="FILE", help="print the tables of an earlier run again")
    found = parser.parse_args()
    if unknown := set(found.data) - set(ALL):
        parser.error(f"no such data: {', '.join(sorted(unknown))}")
    return found


def find_borg(wish: str | None) -> Path | None:
    if wish == "install":
        return install_borg()
    found = shutil.which(wish or "borg")
    return Path(found) if found else None


def find_engines(args: argparse.Namespace) -> list[Engine]:
    """The engines that are asked for and here."""
    wanted = args.engines.split(",")
    engines = [holdfast()] if "holdfast" in wanted else []
    if "restic" in wanted and (binary := args.restic or newest_restic()):
        engines.append(restic(binary))
    if "borg" in wanted:
        try:
            binary = find_borg(args.borg)
        except NotObtainable as error:
            print(f"bench: {error}", flush=True)
            binary = None
        if binary:
            engines.append(borg(binary))
        else:
            print("bench: no borg here (BORG=install builds one); compared with restic only", flush=True)
    return engines


def show(row: Row) -> None:
    print(
        f"{row.dataset:7}{row.repetition:2} {row.engine:9} {row.step:14} {row.wall:8.2f} s  cpu {row.cpu:8.2f} s "
        f"{row.memory:6.0f} MiB  repo {row.repository:8.1f} MB{'' if row.code == 0 else f'  EXIT {row.code}'}",
        flush=True,
    )


def measure_all(args: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Run everything; rows also go to a file, one JSON object a line."""
    free, needed = shutil.disk_usage(args.folder).free, NEEDED * args.scale
    if free < needed:
        sys.exit(f"bench: {args.folder} has {free / 1e9:.0f} GB free, this needs {needed / 1e9:.0f} GB (--folder)")
    library = Library(args.folder, args.scale, args.seed)
    runner = Runner(find_engines(args), args.folder / "work", args.steps.split(","))
    print(f"bench: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; ", end="")
    print(", ".join(f"{engine.name} {engine.version}" for engine in runner.engines), flush=True)
    rows = []
    path = args.folder / f"results-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    with path.open("w", buffering=1) as out:
        for name in (name for name in args.data or NAMES if name in NAMES):
            for row in runner.run(library.get(name), args.reps or REPETITIONS.get(name, USUAL)):
                rows.append(row)
                out.write(json.dumps(row.as_dict()) + "\n")
                show(row)
    print(f"bench: rows are in {path}")
    return rows, runner.failures


def sentence(verdict: Verdict) -> str:
    goal = verdict.goal
    return f"{goal.step} of {goal.dataset}, {goal.metric}: {verdict.ratio:.2f} of {goal.peer}'s, goal {goal.limit:.2f}"


def tell(results: Results) -> list[str]:
    """Print the tables; return the goals that were missed."""
    print("\n" + figures(results) + "\n\n" + ratios(results) + "\n")
    verdicts = results.verdicts()
    missed = [sentence(verdict) for verdict in verdicts if not verdict.met]
    met = f"{len(verdicts) - len(missed)} of {len(verdicts)} goals met"
    print(f"bench: {met if verdicts else 'no peer to compare with'}", flush=True)
    return missed


def main() -> int:
    args = arguments()
    args.folder.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    missed: list[str] = []
    if args.report:
        missed = tell(Results(Row(**json.loads(line)) for line in args.report.read_text().splitlines()))
    elif not args.data or set(args.data) & set(NAMES):
        rows, failures = measure_all(args)
        missed = tell(Results(rows))
    if not args.report and (not args.data or INDEX in args.data):
        missed += measure_index(args.folder, max(1_000_000, int(BLOBS * args.scale)))
    if not args.report and (not args.data or TRANSFERS in args.data):
        library = Library(args.folder, args.scale, args.seed)
        missed += measure_transfers(args.folder, library, args.scale, args.reps or USUAL)
    for failure in failures:
        print(f"bench: FAILED: {failure}")
    for miss in missed:
        print(f"bench: MISSED: {miss}")
    return 2 if failures else 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

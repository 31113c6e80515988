"""Fuzz the parsers: ``python -m tests.fuzz [--minutes 20] [--seed 1] [--save] [TARGET …]``.

Ends with 1 if something broke.  ``--save`` keeps, in ``corpus/``, the few inputs that reach all that was reached.
"""

from __future__ import annotations

import argparse
import resource
import sys

from tests.fuzz.explore import explore, shorten, smallest
from tests.fuzz.targets import TARGETS, load_corpus, save_corpus

_MEMORY = 2 * 1024**3


def main() -> int:
    """Explore each target for its share of the time."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], default=[])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    names = args.targets or list(TARGETS)
    broken = 0
    for name in names:
        done = explore(name, seed=args.seed, seconds=60 * args.minutes / len(names))
        print(f"{name}: {done.tried} inputs, {len(done.features)} features, {len(done.findings)} broke it", flush=True)
        for finding in map(shorten, done.findings):
            broken += 1
            print(f"  {finding.error}\n    {finding.data!r}", flush=True)
        if args.save:
            save_corpus(name, smallest(name, [*load_corpus(name), *done.kept]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

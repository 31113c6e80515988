"""How much memory the index of a large repository takes, and what a look-up costs.

    python -m tests.bench.index_memory [--blobs 10000000] [--folder DIR]

A repository with that many blobs in its index, and no packs, is made once. Then one process opens it with an empty
cache, and another with what the first left there. Exits with 1 when either then needs more than 64 bytes a blob, or the
second more than 5 of its own.
"""

import argparse
import json
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from backups.engine.blob import BlobType
from backups.engine.index_file import encode_index
from backups.engine.layout import INDEX
from backups.engine.pack import Entry
from backups.engine.repository import Repository
from destinations.storage.local import LocalStore

PASSWORD = "bench"
BLOBS_IN_PACK = 100
PACKS_IN_OBJECT = 500
BLOBS_IN_OBJECT = BLOBS_IN_PACK * PACKS_IN_OBJECT
LOOKUPS = 100_000
PRIVATE_GOAL, TOTAL_GOAL = 5.0, 64.0  # bytes a blob
ROOT = Path(__file__).resolve().parents[2]


def random_packs(number: int) -> Iterator[tuple[str, list[Entry]]]:
    """The packs of one index object; the same for the same number."""
    rng = random.Random(number)
    for _ in range(PACKS_IN_OBJECT):
        ids = rng.randbytes(32 * BLOBS_IN_PACK)
        entries, offset = [], 0
        for i in range(BLOBS_IN_PACK):
            length = rng.randrange(500, 150_000)
            entries.append(Entry(BlobType.DATA, ids[32 * i : 32 * i + 32], offset, length, length * 3))
            offset += length
        yield rng.randbytes(32).hex(), entries


def make(folder: Path, blobs: int) -> None:
    """Write a repository whose index knows this many blobs."""
    mark = folder / "made"
    if mark.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    repository = Repository.create(LocalStore(folder / "repository"), PASSWORD)
    for number in range(blobs // BLOBS_IN_OBJECT):
        repository.save_object(INDEX, encode_index(random_packs(number)))
    repository.close()
    mark.touch()


def anonymous() -> int:
    """Bytes of this process that no file stands behind."""
    found = re.search(r"^Anonymous:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def look_up(repository: Repository) -> tuple[float, float]:
    """Microseconds of a look-up that finds, and of one that does not."""
    known = [entry.id for _, entries in random_packs(0) for entry in entries]
    rng = random.Random("look-up")
    rng.shuffle(known)
    unknown = [rng.randbytes(32) for _ in range(LOOKUPS)]
    times = []
    for ids, expected in ((known, True), (unknown, False)):
        began = time.perf_counter()
        found = [repository.index.has(BlobType.DATA, blob_id) for blob_id in ids]
        times.append((time.perf_counter() - began) / len(ids) * 1e6)
        if set(found) != {expected}:
            raise SystemExit(f"the index is wrong: {sum(found)} of {len(ids)} known, expected {expected}")
    return times[0], times[1]


def use(folder: Path) -> None:
    """Open the repository and print what that took, as JSON."""
    cache = folder / "cache"
    repository = Repository.open(LocalStore(folder / "repository"), PASSWORD, cache_root=cache)
    before, began = anonymous(), time.perf_counter()
    repository.load_index()
    seconds = time.perf_counter() - began
    hit, miss = look_up(repository)
    own = anonymous() - before
    files = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    answer = {"seconds": seconds, "own": own, "files": files, "peak": peak, "hit": hit, "miss": miss}
    print(json.dumps({**answer, "count": len(repository.index)}))


def used(folder: Path) -> dict[str, float]:
    """What a process of its own measured."""
    command = [sys.executable, "-m", "tests.bench.index_memory", "--use", str(folder)]
    answer: dict[str, float] = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    return answer


def measure_index(folder: Path, blobs: int) -> list[str]:
    """Measure with an empty and with a warm cache, print both, and return the goals that were missed."""
    folder = folder / f"index-{blobs}"
    make(folder, blobs)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    missed = []
    for state, private_goal in (("empty cache", TOTAL_GOAL), ("warm cache", PRIVATE_GOAL)):
        cost = used(folder)
        count = cost["count"]
        own, files, peak = (cost[name] / count for name in ("own", "files", "peak"))
        print(
            f"index of {count:,.0f} blobs, {state}: opened in {cost['seconds']:.1f} s at a peak of {peak:.0f} B "
            f"a blob; then {own:.1f} B of its own and {files:.1f} B of file a blob; "
            f"a look-up takes {cost['hit']:.2f} us (found), {cost['miss']:.2f} us (not)",
            flush=True,
        )
        if own > private_goal or own + files > TOTAL_GOAL:
            missed.append(
                f"index, {state}: {own:.0f} B of its own and {own + files:.0f} B in all a blob, "
                f"goals {private_goal:.0f} and {TOTAL_GOAL:.0f}"
            )
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blobs", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "bench")
    parser.add_argument("--use", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.use:
        use(args.use)
        return 0
    missed = measure_index(args.folder, args.blobs)
    print("\n".join(f"MISSED: {line}" for line in missed) or "goals met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

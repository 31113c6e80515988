"""The benchmark measures what it says, and leaves its data as it found them."""

import os
import random
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.bench.changes import Changes, file_names
from tests.bench.corpus import Corpus
from tests.bench.datasets import Dataset, Library
from tests.bench.goals import GOALS, Goal
from tests.bench.measure import Cost, measure
from tests.bench.report import Results, Verdict
from tests.bench.runner import STEPS, DifferentTree, Row, compare

SCALE = 0.002


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus(
        [Path(sysconfig.get_path("stdlib")) / name for name in ("asyncio", "unittest", "email", "idlelib", "xml")]
    )


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {n: ((folder / n).read_bytes(), (folder / n).stat().st_mtime_ns) for n in file_names(folder)}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    folder = tmp_path / "data"
    rng = random.Random(5)
    for i in range(200):
        path = folder / f"d{i % 7}" / f"f{i}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(300))
    return Dataset("small", folder)


@pytest.mark.parametrize("name", ["site", "dump", "many"])
def test_a_seed_gives_the_same_bytes_and_another_seed_others(name: str, tmp_path: Path, corpus: Corpus) -> None:
    first, again, other = (
        contents(Library(tmp_path / folder, SCALE, seed, lambda: corpus).get(name).folder)
        for folder, seed in (("one", "1"), ("two", "1"), ("three", "2"))
    )
    assert first == again
    assert first != other
    assert len(first) == {"site": 2 + 88 + 12, "dump": 1, "many": 1000}[name]


def test_the_next_days_dump_differs_a_little(tmp_path: Path, corpus: Corpus) -> None:
    made = Library(tmp_path, SCALE * 4, "1", lambda: corpus).get("dump")
    assert made.following is not None
    today, tomorrow = ((folder / "db.sql").read_bytes() for folder in (made.folder, made.following))
    assert len(today) == pytest.approx(12_000_000, rel=0.1)
    assert len(tomorrow) == pytest.approx(len(today) * 1.01, rel=0.01)
    rows = [set(day.replace(b"),(", b")\n(").splitlines()) for day in (today, tomorrow)]
    assert 0.005 < len(rows[1] - rows[0]) / len(rows[1]) < 0.06


def test_changes_touch_one_file_in_a_hundred_and_can_be_taken_back(dataset: Dataset, tmp_path: Path) -> None:
    before = contents(dataset.folder)
    changes = Changes(dataset, tmp_path / "kept", "seed")
    changes.day_passes()
    changed = contents(dataset.folder)
    assert sum(before[name] != changed[name] for name in before) == 2
    changes.day_passes()
    changes.take_back()
    assert contents(dataset.folder) == before
    assert not (tmp_path / "kept").exists()


def test_changes_of_an_interrupted_run_are_taken_back_by_the_next(dataset: Dataset, tmp_path: Path) -> None:
    before = contents(dataset.folder)
    interrupted = Changes(dataset, tmp_path / "kept", "seed")
    interrupted.day_passes()
    interrupted.day_passes()
    assert contents(dataset.folder) != before
    Changes(dataset, tmp_path / "kept", "seed")
    assert contents(dataset.folder) == before


def test_a_prescribed_next_day_is_swapped_in(dataset: Dataset, tmp_path: Path) -> None:
    following = tmp_path / "next"
    for name in file_names(dataset.folder):
        (following / name).parent.mkdir(parents=True, exist_ok=True)
        (following / name).write_bytes(b"tomorrow")
    changes = Changes(Dataset("two days", dataset.folder, following), tmp_path / "kept", "seed")
    changes.day_passes(to_following=True)
    assert {data for data, _ in contents(dataset.folder).values()} == {b"tomorrow"}
    changes.take_back()


def run(code: str, tmp_path: Path, timeout: float = 60) -> Cost:
    with (tmp_path / "log").open("ab") as log:
        return measure([sys.executable, "-c", code], env=os.environ, cwd=tmp_path, log=log, timeout=timeout)


def test_wall_and_processor_time_are_told_apart(tmp_path: Path) -> None:
    idle = run("import time; time.sleep(0.5)", tmp_path)
    assert idle.wall >= 0.5
    assert idle.cpu < idle.wall
    busy = run("import time\nwhile time.process_time() < 0.5: pass", tmp_path)
    assert busy.cpu >= 0.5


def test_children_count_for_time_and_memory(tmp_path: Path) -> None:
    code = """
import os, time
for _ in range(2):
    if not os.fork():
        block = bytearray(os.urandom(1)) * (64 << 20)
        while time.process_time() < 0.4: pass
        time.sleep(0.8)
        os._exit(0)
for _ in range(2): os.wait()
"""
    cost = run(code, tmp_path)
    assert cost.cpu >= 0.8
    assert cost.memory >= 120


def test_an_exit_code_is_kept_and_an_endless_program_is_killed(tmp_path: Path) -> None:
    assert run("raise SystemExit(7)", tmp_path).code == 7
    assert run("import time; time.sleep(60)", tmp_path, timeout=0.5).code == -9


def row(engine: str, repetition: int, wall: float, code: int = 0) -> Row:
    return Row("site", repetition, engine, "1", "first", code, wall, wall * 2, 100.0, 50.0)


def test_ratios_are_made_within_a_repetition() -> None:
    walls = {"restic": (10.0, 20.0, 40.0), "holdfast": (5.0, 8.0, 24.0)}
    results = Results(row(engine, n, wall) for engine, values in walls.items() for n, wall in enumerate(values))
    assert results.ratio("site", "first", "restic", "wall") == pytest.approx(0.5)
    assert results.median("site", "first", "restic", "wall") == 20.0
    assert results.ratio("site", "first", "borg", "wall") is None


def test_a_failed_step_is_not_compared() -> None:
    results = Results([row("restic", 0, 10.0), row("holdfast", 0, 0.1, code=1)])
    assert results.ratio("site", "first", "restic", "wall") is None
    assert not results.verdicts()


def test_a_goal_is_met_up_to_its_limit_and_missed_beyond() -> None:
    goal = Goal("site", "first", "wall", "restic", 0.55, 0.35)
    assert [Verdict(goal, ratio).word for ratio in (0.35, 0.36, 0.55, 0.56)] == ["stretch", "met", "met", "MISSED"]


def test_goals_name_steps_and_data_that_are_run_and_none_twice() -> None:
    assert {goal.step for goal in GOALS} <= set(STEPS)
    keys = [(goal.dataset, goal.step, goal.metric, goal.peer) for goal in GOALS]
    assert len(keys) == len(set(keys))


def test_a_restored_tree_with_one_other_byte_is_seen(dataset: Dataset, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in file_names(dataset.folder):
        source, target = dataset.folder / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        os.utime(target, ns=(source.stat().st_mtime_ns,) * 2)
    compare(dataset.folder, copy)
    victim = copy / file_names(copy)[-1]
    stamp = victim.stat().st_mtime_ns
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    os.utime(victim, ns=(stamp, stamp))
    with pytest.raises(DifferentTree, match="content differs"):
        compare(dataset.folder, copy)

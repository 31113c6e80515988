"""Random histories of backups, forgetting, pruning, editing, damage, kills and repair, against a plain model."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from backups.engine.edit import tag_snapshots
from backups.engine.forget import remove_snapshots
from backups.engine.keyring import change_password
from backups.engine.layout import INDEX
from backups.engine.prune import prune
from backups.engine.prune_plan import PruneOptions, Unused, plan_prune
from backups.engine.repair_index import repair_index
from backups.engine.repair_packs import repair_packs
from backups.engine.repair_snapshots import repair_snapshots
from backups.engine.repository import Repository
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import (
    PASSWORD,
    QUICK,
    Folder,
    Writer,
    assert_whole,
    new_repository,
    noise,
    read_folder,
    reopened,
)
from tests.fakes.faulty_store import Died, DyingStore

OPTIONS = st.builds(
    PruneOptions,
    max_unused=st.sampled_from([Unused(size=0), Unused(percent=20), Unused()]),
    repack_smaller_than=st.sampled_from([0, 3000, 1 << 20]),
    max_repack=st.sampled_from([None, 9000]),
    repack_uncompressed=st.booleans(),
    pack_size=st.sampled_from([1000, 6000, 1 << 20]),
    workers=st.just(0),
)


class Maintenance(RuleBasedStateMachine):
    """``expected`` is the model: the content of each snapshot by the first id it had."""

    snapshots = Bundle("snapshots")

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}
        new_repository(MemoryStore(self.objects))
        self.password = PASSWORD
        self.expected: dict[str, Folder] = {}

    def opened(self, store: object = None) -> Repository:
        repository = Repository.open(store or MemoryStore(self.objects), self.password)  # type: ignore[arg-type]
        repository.load_index()
        return repository

    def current(self, name: str) -> str:
        (found,) = [s.id for s in self.opened().snapshots() if (s.original or s.id) == name]
        return found

    @rule(target=snapshots, seed=st.integers(0, 1000), blobs=st.integers(1, 6), raw=st.booleans(), force=st.booleans())
    def back_up(self, seed: int, blobs: int, raw: bool, force: bool) -> str:
        rng = random.Random(seed)
        folder: dict[str, Folder | bytes] = {f"f{n}": noise(n, 500) for n in rng.sample(range(12), 4)}
        folder["d"] = {f"t{n}": b"text %d" % n * 200 for n in rng.sample(range(8), 2)}
        writer = Writer(self.opened(), pack_blobs=blobs)
        writer.raw, writer.force = raw, force
        name = writer.snapshot(folder, time=f"2024-01-01T00:00:{len(self.expected) % 60:02d}.{seed:03d}Z")
        self.expected[name] = folder
        return name

    @rule(name=consumes(snapshots))
    def forget(self, name: str) -> None:
        remove_snapshots(self.opened(), [self.current(name)])
        del self.expected[name]

    @rule(name=snapshots, tag=st.sampled_from(["x", "y"]))
    def tag(self, name: str, tag: str) -> None:
        repository = self.opened()
        tag_snapshots(repository, [s for s in repository.snapshots() if (s.original or s.id) == name], add=[tag])

    @rule(options=OPTIONS)
    def prune(self, options: PruneOptions) -> None:
        repository = self.opened()
        prune(repository, options)
        assert_whole(repository)

    @rule(options=OPTIONS, at=st.integers(1, 30), after=st.booleans())
    def prune_until_killed(self, options: PruneOptions, at: int, after: bool) -> None:
        try:
            store = DyingStore(MemoryStore(self.objects), at + 4, after=after)
            prune(self.opened(store), options)
        except Died:
            pass

    @rule()
    def prune_all(self) -> None:
        options = PruneOptions(max_unused=Unused(size=0), workers=0)
        prune(self.opened(), options)
        again = self.opened()
        report = plan_prune(again, options).report
        assert (report.unused.blobs, report.duplicate.blobs, report.packs_unreferenced) == (0, 0, 0)
        assert again.ids("data").keys() == {name.hex() for name in again.index.packs}

    @rule(number=st.integers(0, 100))
    def leave_a_pack_behind(self, number: int) -> None:
        writer = Writer(self.opened())
        writer.tree({"nobody": {"needs": noise(5000 + number)}})
        writer.flush(index=number % 2 == 0)

    @precondition(lambda self: any(key.startswith(INDEX) for key in self.objects))
    @rule(number=st.integers(0, 100), garbage=st.booleans())
    def lose_an_index_and_repair(self, number: int, garbage: bool) -> None:
        keys = sorted(key for key in self.objects if key.startswith(INDEX))
        key = keys[number % len(keys)]
        if garbage:
            self.objects[key] = b"garbage"
        else:
            del self.objects[key]
        repair_index(Repository.open(MemoryStore(self.objects), self.password))

    @rule(number=st.integers(0, 100))
    def write_packs_anew(self, number: int) -> None:
        repository = self.opened()
        packs = sorted(repository.ids("data"))
        assert repair_packs(repository, packs[number % 5 :: 5]).lost == []

    @rule()
    def repair_what_is_whole(self) -> None:
        repository = self.opened()
        assert repair_snapshots(repository, repository.snapshots(), forget=True).changes == []

    @rule(password=st.sampled_from(["one", "two", PASSWORD]))
    def new_password(self, password: str) -> None:
        change_password(self.opened(), password, params=QUICK)
        self.password = password

    @invariant()
    def every_snapshot_reads_back(self) -> None:
        repository = reopened(self.opened()) if self.password == PASSWORD else self.opened()
        found = {s.original or s.id: read_folder(repository, s.tree) for s in repository.snapshots()}
        assert found == self.expected


Maintenance.TestCase.settings = settings(
    max_examples=max(15, settings.default.max_examples // 10),
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestMaintenance = Maintenance.TestCase

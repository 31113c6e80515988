"""Random histories of changes, backups, forgetting, pruning, restores, damage and repair, against a plain model.

The model is what each snapshot held.  Damage may cost what the source has no more; it may never bring back
anything else than what was saved, and it may never pass for success.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backups.engine.errors import BlobMissing, Corrupt, EngineError
from backups.engine.forget import remove_snapshots
from backups.engine.layout import DATA, INDEX, SNAPSHOTS
from backups.engine.prune import prune
from backups.engine.prune_plan import PruneOptions, Unused
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot
from backups.sources import FolderSource
from destinations.storage.errors import StoreError
from destinations.storage.memory import MemoryStore
from tests.engine.flipping import found, heal, opened
from tests.engine.repositories import PASSWORD, new_repository, noise
from tests.engine.restoring import files_below, restore_to
from tests.engine.running import content, run_backup, walk

Contents = dict[str, bytes]

NAMES = st.sampled_from(["a", "b", "d/a", "d/e/a", "d/e/b", "f/a"])
TARGETS = st.sampled_from([DATA, INDEX, SNAPSHOTS])


class History(RuleBasedStateMachine):
    """``expected`` is the content of each snapshot by the first id it had; ``hurt`` whether something was damaged."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-model-"))
        self.before = Path.cwd()
        os.chdir(self.folder)
        self.objects: dict[str, bytes] = {}
        new_repository(MemoryStore(self.objects))
        self.source: Contents = {}
        self.expected: dict[str, Contents] = {}
        self.hurt = False
        self.write("a", 1, 100)

    def teardown(self) -> None:
        os.chdir(self.before)
        shutil.rmtree(self.folder)

    # ------------------------------------------------------------------ what a person does

    @rule(name=NAMES, seed=st.integers(0, 30), size=st.sampled_from([0, 1, 300, 5000]))
    def write(self, name: str, seed: int, size: int) -> None:
        path = self.folder / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(seed, size))
        self.source[name] = noise(seed, size)

    @precondition(lambda self: len(self.source) > 1)
    @rule(number=st.integers(0, 100))
    def remove(self, number: int) -> None:
        name = sorted(self.source)[number % len(self.source)]
        (self.folder / "source" / name).unlink()
        del self.source[name]

    @rule(force=st.booleans())
    def back_up(self, force: bool) -> None:
        repository, snapshots = self.tolerant()
        moment = f"2024-01-01T00:00:{len(self.expected) % 60:02d}.{len(self.objects):04d}Z"
        parent = snapshots[-1] if snapshots and not force else None
        result = run_backup(repository, FolderSource([b"source"]), parent=parent, time=moment)
        assert result.complete
        self.expected[result.snapshot_id] = dict(self.source)

    @precondition(lambda self: self.expected)
    @rule(number=st.integers(0, 100))
    def forget(self, number: int) -> None:
        name = sorted(self.expected)[number % len(self.expected)]
        repository, snapshots = self.tolerant()
        remove_snapshots(repository, [snapshot.id for snapshot in snapshots if name in names(snapshot)])
        del self.expected[name]

    @rule(size=st.sampled_from([0, 10_000]), repack=st.sampled_from([0, 1 << 20]))
    def prune(self, size: int, repack: int) -> None:
        options = PruneOptions(max_unused=Unused(size=size), repack_smaller_than=repack, workers=0)
        readable = self.readable()
        try:
            prune(opened(self.objects), options)
        except (EngineError, StoreError):
            assert self.hurt
        assert self.readable() == readable, "what could be read before can be read now"

    @precondition(lambda self: self.expected)
    @rule(number=st.integers(0, 100), over=st.booleans())
    def restore(self, number: int, over: bool) -> None:
        repository, snapshots = self.tolerant()
        if not snapshots:
            return
        chosen = snapshots[number % len(snapshots)]
        target = self.folder / "target"
        if over:
            (target / "source").mkdir(parents=True)
            (target / "source" / "a").write_bytes(noise(1, 5000))
        try:
            repository.snapshots = lambda on_damage=None: [chosen]  # type: ignore[assignment]
            result = restore_to(repository, target)
            restored = {path.removeprefix("source/"): data for path, data in files_below(target).items()}
        except EngineError:
            assert self.hurt
            return
        finally:
            shutil.rmtree(target, ignore_errors=True)
        wanted = self.of(chosen)
        assert result.complete or self.hurt
        mine = {"a": noise(1, 5000)} if over else {}
        if result.complete:
            assert restored == mine | wanted
        else:
            assert restored.items() <= wanted.items() | mine.items()

    # ------------------------------------------------------------------ what goes wrong, and what is done about it

    @rule(
        kind=TARGETS,
        number=st.integers(0, 1000),
        at=st.integers(0, 10**6),
        how=st.sampled_from(["flip", "cut", "lose", "garbage"]),
    )
    def damage(self, kind: str, number: int, at: int, how: str) -> None:
        keys = sorted(key for key in self.objects if key.startswith(kind))
        if not keys:
            return
        key = keys[number % len(keys)]
        whole = bytearray(self.objects[key])
        at %= len(whole) or 1
        if how == "lose" and kind != SNAPSHOTS:
            del self.objects[key]
        elif how == "cut":
            self.objects[key] = bytes(whole[:at])
        elif how == "garbage":
            self.objects[key] = noise(number, 500)
        elif whole:
            whole[at] ^= 1 << number % 8
            self.objects[key] = bytes(whole)
        self.hurt = True

    @precondition(lambda self: self.hurt)
    @rule()
    def mend(self) -> None:
        for _ in range(3):  # packs that a damaged index hid are read by the next check only
            findings = found(self.objects)
            assert not isinstance(findings, EngineError)
            name = heal(self.objects, findings, time=f"2024-02-01T00:00:00.{len(self.objects):05d}Z")
            self.expected[name] = dict(self.source)
            if found(self.objects) == []:
                break
        assert found(self.objects) == []
        self.hurt = False
        repository, snapshots = self.tolerant()
        left = {first: snapshot for snapshot in snapshots for first in self.expected if first in names(snapshot)}
        for first in self.expected.keys() - left.keys():
            del self.expected[first]
        there = set(self.source.values())
        for first, snapshot in left.items():
            now = {path: data for path, data in self.read(repository, snapshot).items() if data is not None}
            for path, data in self.expected[first].items():
                if path not in now:
                    assert path not in self.source or self.source != self.expected[first]
                elif now[path] != data:
                    assert now[path] == b"", "a file of one blob that is lost becomes empty"
                    assert data not in there, "the source has it, so the backup healed it"
            assert now.keys() <= self.expected[first].keys()
            self.expected[first] = now

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def whole_unless_hurt(self) -> None:
        if not self.hurt:
            repository = opened(self.objects)
            for snapshot in repository.snapshots():
                assert self.read(repository, snapshot) == self.of(snapshot)
            assert len(repository.snapshots()) == len(self.expected)

    # ------------------------------------------------------------------ looking

    def tolerant(self) -> tuple[Repository, list[Snapshot]]:
        """The repository as verbs that remove nothing open it, and the snapshots that can be read."""
        repository = Repository.open(MemoryStore(self.objects), PASSWORD)
        repository.load_index(lambda _: None)
        return repository, repository.snapshots(lambda _: None)

    def of(self, snapshot: Snapshot) -> Contents:
        return next(self.expected[name] for name in names(snapshot) if name in self.expected)

    def read(self, repository: Repository, snapshot: Snapshot) -> dict[str, bytes | None]:
        """Every file of a snapshot that is listed, with its content, None for what cannot be read."""
        contents: dict[str, bytes | None] = {}
        try:
            for path, node in walk(repository, snapshot.tree):
                if node.type == "file":
                    name = path.decode().removeprefix("source/")
                    try:
                        contents[name] = content(repository, node)
                    except (Corrupt, BlobMissing):
                        contents[name] = None
        except Corrupt:
            pass
        return contents

    def readable(self) -> dict[str, dict[str, bytes | None]]:
        repository, snapshots = self.tolerant()
        return {snapshot.id: self.read(repository, snapshot) for snapshot in snapshots}


def names(snapshot: Snapshot) -> list[str]:
    """The ids a snapshot is known by: its own, and the one it had before it was repaired."""
    return [name for name in (snapshot.original, snapshot.id) if name]


History.TestCase.settings = settings(
    max_examples=max(15, settings.default.max_examples // 10),
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestHistory = History.TestCase

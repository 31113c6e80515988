"""Kills the engine in the middle of its work, and looks at what it left.

The process is the real one, killed with SIGKILL at an instant between its lock and its end.  Afterwards nothing may be
worse than packs nobody refers to, every snapshot that had been announced has to read back, and the same
verb has to succeed when it is simply run again.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from backups.engine.errors import WrongKey
from backups.engine.locks import unlock
from backups.engine.prune_plan import PruneOptions, Unused, plan_prune
from backups.engine.repository import Repository
from backups.engine.snapshot import Snapshot
from tests.engine.running import contents_below
from tests.interop.ours import Forked, Ours
from tests.peers import Restic

Contents = dict[bytes, bytes]


@dataclass
class Playground:
    """A repository, a source that changes, and what each announced snapshot has to hold."""

    ours: Ours
    restic: Restic
    rng: random.Random
    scale: int = 1
    announced: dict[str, Contents] = field(default_factory=dict)
    kills: int = 0
    alive: int = 0
    """Runs that had come to their end before they were to be killed."""

    @property
    def source(self) -> Path:
        """The folder that is backed up."""
        return self.ours.repo.parent / "source"

    def fill(self) -> None:
        """Make the source."""
        for number in range(12):
            folder = self.source / f"folder-{number}"
            folder.mkdir(parents=True)
            for name in range(6):
                (folder / f"{name}").write_bytes(self.rng.randbytes(self.rng.choice([0, 10, 2000])))
        for name in range(5 * self.scale):
            (self.source / f"large-{name}").write_bytes(self.rng.randbytes(600_000))

    def change(self) -> None:
        """Change part of the source."""
        for _ in range(2 * self.scale):
            (self.source / f"large-{self.rng.randrange(5 * self.scale)}").write_bytes(self.rng.randbytes(600_000))
        for number in range(12):
            if self.rng.random() < 0.5:
                (self.source / f"folder-{number}" / f"{self.rng.randrange(9)}").write_bytes(self.rng.randbytes(1500))

    def expected(self) -> Contents:
        """What a snapshot made now has to hold."""
        files = [path for path in self.source.rglob("*") if path.is_file()]
        return {b"source/" + bytes(path.relative_to(self.source)): path.read_bytes() for path in files}

    def backup(self) -> str:
        """Make a snapshot and see it announced."""
        said = self.ours.quick("--json", "backup", "source", cwd=self.source.parent)
        name: str = json.loads(said.splitlines()[-1])["snapshot_id"]
        self.announced[name] = self.expected()
        return name

    def killed(self, *verb: str | Path, delay: float, real: bool) -> str:
        """Run a verb, kill it ``delay`` seconds after its lock was seen, and return what it had said by then.

        ``real`` starts a new interpreter; otherwise it is a forked child, which has the time of that to spare.
        """
        process: Forked | subprocess.Popen[bytes]
        if real:
            process = self.ours.start("--json", *verb, cwd=self.source.parent)
        else:
            process = self.ours.fork("--json", *verb, cwd=self.source.parent)
        while process.poll() is None and not self._locks():
            time.sleep(0.001)
        time.sleep(delay)
        if process.poll() is None:
            self.kills += 1
        else:
            self.alive += 1
        process.kill()
        said, errors = process.communicate()
        assert b"Traceback" not in errors, errors.decode()
        return said.decode()

    def _locks(self) -> list[Path]:
        return [path for path in (self.ours.repo / "locks").iterdir() if len(path.name) == 64]

    def duration(self, *verb: str | Path) -> float:
        """Seconds a verb takes from its lock to its end, tried on a copy of the repository."""
        copy = Ours(self.ours.repo.parent / "copy", self.ours.password_file, self.ours.cache)
        shutil.copytree(self.ours.repo, copy.repo)
        other = Playground(copy, self.restic, random.Random(0))
        process = copy.fork(*verb, cwd=self.source.parent)
        while process.poll() is None and not other._locks():
            time.sleep(0.001)
        began = time.monotonic()
        said, errors = process.communicate()
        took = time.monotonic() - began
        assert process.returncode == 0, (said + errors).decode()
        shutil.rmtree(copy.repo)
        return took

    def use_password_that_opens(self, new: Path) -> None:
        """After a change of the password was killed, the old one opens, or the new one, or both."""
        candidates = [self.ours.password_file.read_text(), new.read_text()]
        self.rng.shuffle(candidates)
        for text in candidates:
            self.ours.password_file.write_text(text)
            try:
                self.ours.open()
            except WrongKey:
                continue
            return
        raise AssertionError("no password opens the repository any more")

    def note_announced(self, said: str) -> None:
        """A backup that was killed after it had named its snapshot did announce it."""
        for line in said.splitlines():
            if line.endswith("}") and (name := json.loads(line).get("snapshot_id")):
                self.announced[name] = self.expected()

    def look(self, *, may_be_gone: Collection[str] = (), stock: bool = True) -> Repository:
        """Remove the dead lock; nothing may be lost.  Returns the repository, opened."""
        repository = self.ours.open()
        unlock(repository)
        assert self._locks() == []
        if stock:
            self.restic.run(self.ours.repo, "check", password=self.ours.password)
        there = {name: snapshot.tree for snapshot in repository.snapshots() for name in _names(snapshot)}
        for name, contents in self.announced.items():
            if name in there:
                assert contents_below(repository, there[name]) == contents
            else:
                assert name in may_be_gone, f"snapshot {name} was announced and is gone"
        return repository


def _names(snapshot: Snapshot) -> list[str]:
    """The ids a snapshot is known by: its own, and the one it had before it was changed."""
    return [name for name in (snapshot.id, snapshot.original) if name]


Words = Callable[[Playground], list[str | Path]]


@dataclass(frozen=True)
class Verb:
    """A verb to be killed: how to run it, what it needs before, what it must have done when it came to its end.

    ``damaged``: what is announced can be read only after it.
    """

    words: Words
    prepare: Callable[[Playground], object]
    done: Callable[[Playground, Repository], None] = lambda play, repository: None
    forgets: bool = False
    damaged: bool = False


def _always(*words: str) -> Words:
    return lambda play: list(words)


def _some_snapshots(play: Playground) -> None:
    """See that there are four snapshots; what forget has removed does not count."""
    there = {name for snapshot in play.ours.open().snapshots() for name in _names(snapshot)}
    for name in play.announced.keys() - there:
        del play.announced[name]
    while len(play.announced) < 4:
        play.change()
        play.backup()


def _something_to_prune(play: Playground) -> None:
    """Forget the oldest snapshots, so that packs are partly used."""
    _some_snapshots(play)
    repository = play.ours.open()
    for name in list(play.announced)[:2]:
        for snapshot in repository.snapshots():
            if name in _names(snapshot):
                repository.remove_object("snapshots", snapshot.id)
        del play.announced[name]


def _changed(play: Playground) -> None:
    """Change the source, and keep the repository small."""
    play.change()
    if len(play.announced) > 6:
        _something_to_prune(play)
        play.ours.quick("prune", "--max-unused", "0")


def _nothing_unused(play: Playground, repository: Repository) -> None:
    assert plan_prune(repository, PruneOptions(max_unused=Unused(size=0))).report.unused.blobs == 0


def _an_index_object_is_lost(play: Playground) -> None:
    _some_snapshots(play)
    repository = play.ours.open()
    repository.remove_object("index", play.rng.choice(sorted(repository.ids("index"))))


def _every_pack_is_indexed(play: Playground, repository: Repository) -> None:
    assert {pack.hex() for pack in repository.index.packs} == repository.ids("data").keys()


def _some_packs(play: Playground) -> list[str | Path]:
    names = sorted(pack.hex() for pack in play.ours.open().index.packs)
    return ["repair", "packs", *play.rng.sample(names, min(3, len(names)))]


def _a_snapshot_is_damaged(play: Playground) -> None:
    """See that a snapshot nobody was promised has lost some of its content, and the index knows."""
    _some_snapshots(play)
    victim = play.source.parent / "victim"
    for number in range(30):
        (victim / f"{number}").mkdir(parents=True, exist_ok=True)
        (victim / f"{number}" / "file").write_bytes(play.rng.randbytes(3000))
    before = play.ours.open().ids("data")
    play.ours.quick("backup", "--host", "victim", "--pack-size", "4", "victim", cwd=victim.parent)
    repository = play.ours.open()
    trees = {place.pack for kind, _, place in repository.index.items() if kind}
    data = {pack.hex() for number, pack in enumerate(repository.index.packs) if number not in trees}
    for name in repository.ids("data").keys() - before.keys() & data:
        repository.remove_object("data", name)
    play.ours.quick("repair", "index")


def _no_snapshot_is_damaged(play: Playground, repository: Repository) -> None:
    hurt = [snapshot for snapshot in repository.snapshots() if snapshot.hostname == "victim"]
    assert hurt
    assert all(snapshot.original for snapshot in hurt)
    for snapshot in hurt:
        contents_below(repository, snapshot.tree)
        repository.remove_object("snapshots", snapshot.id)


def _another_password(play: Playground) -> list[str | Path]:
    """The file of a new password, which the playground will try from now on."""
    file = play.ours.password_file.with_name("new-password")
    file.write_text("".join(play.rng.choices("abcdef", k=12)) + "\n")
    return ["key", "passwd", "--new-password-file", file]


VERBS: dict[str, Verb] = {
    "backup": Verb(_always("backup", "source"), _changed),
    "prune": Verb(_always("prune", "--max-unused", "0"), _something_to_prune, _nothing_unused),
    "forget": Verb(_always("forget", "--keep-last", "2"), _some_snapshots, forgets=True),
    "forget and prune": Verb(_always("forget", "--keep-last", "2", "--prune"), _some_snapshots, forgets=True),
    "tag": Verb(_always("tag", "--add", "seen"), _some_snapshots),
    "key passwd": Verb(_another_password, _some_snapshots),
    "repair index": Verb(_always("repair", "index"), _an_index_object_is_lost, _every_pack_is_indexed, damaged=True),
    "repair packs": Verb(_some_packs, _some_snapshots),
    "repair snapshots": Verb(
        _always("repair", "snapshots", "--forget"), _a_snapshot_is_damaged, _no_snapshot_is_damaged, damaged=True
    ),
}


def kill_in_the_middle(play: Playground, name: str, times: int, *, real_every: int, stock_every: int = 1) -> None:
    """Run a verb so many times, killed at random instants, looking and running it again each time."""
    verb = VERBS[name]
    verb.prepare(play)
    longest = play.duration(*verb.words(play)) + 0.02
    for turn in range(times):
        verb.prepare(play)
        words = verb.words(play)
        gone = set(list(play.announced)[:-2]) if verb.forgets else set()
        said = play.killed(*words, delay=play.rng.uniform(0, longest), real=turn % real_every == 0)
        if name == "backup":
            play.note_announced(said)
        if name == "key passwd":
            play.use_password_that_opens(Path(words[-1]))
        if verb.damaged:
            unlock(play.ours.open())
        else:
            play.look(may_be_gone=gone, stock=turn % stock_every == 0)
        if name == "backup":
            play.backup()
        elif name == "key passwd":
            _change_password(play, words)
        else:
            play.ours.quick(*verb.words(play), cwd=play.source.parent)
        verb.done(play, play.look(may_be_gone=gone, stock=verb.damaged))
    play.restic.run(play.ours.repo, "check", "--read-data", password=play.ours.password)
    print(f"{name}: killed {play.kills} times, {play.alive} runs were over before")
    assert play.kills, "every run was over before it was killed"


def _change_password(play: Playground, words: list[str | Path]) -> None:
    play.ours.quick(*words)
    Path(words[-1]).replace(play.ours.password_file)
    store = play.ours.store
    for info in [info for info in store.list("keys") if not info.key.endswith(play.ours.open().key_id)]:
        store.delete(info.key)  # what a killed change left: the other key of the two

"""Writers, readers and pruners at work in one repository at once: real processes of both programs.

Each actor runs one command after the other; who is locked out tries again.  Every snapshot that was announced is
remembered with what it has to hold, and is compared whenever it is met.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.engine.running import contents_below
from tests.interop.ours import Ours
from tests.peers import PASSWORD, Restic

KEEP = 3
"""How many snapshots of each host forget keeps."""
LOCKED = 11

Contents = dict[str, bytes]


@dataclass
class Crowd:
    """The repository and everybody in it.  ``announced`` has the snapshots of each host, oldest first."""

    ours: Ours
    restic: Restic
    seed: int = 0
    announced: dict[str, list[str]] = field(default_factory=dict)
    held: dict[str, Contents] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)

    def work(self, times: int, *, seconds: float) -> None:
        """Let everybody work until each has done something so often; raise what went wrong for anybody."""
        actors: list[Callable[[], None]] = [
            lambda: self._write("ours"),
            lambda: self._write("stock"),
            self._read,
            self._prune,
        ]
        with ThreadPoolExecutor(len(actors)) as pool:
            running = [pool.submit(self._until_over, actor) for actor in actors]
            end = time.monotonic() + seconds
            while not self._enough(times) and not any(each.done() for each in running):
                assert time.monotonic() < end, f"too slow: {dict(self.done)}"
                time.sleep(0.05)
            self._over.set()
            for each in running:
                each.result()

    def _enough(self, times: int) -> bool:
        with self._guard:
            done = self.done
            writers = min(done["backups by ours"], done["backups by stock"])
            return min(writers, sum(v for k, v in done.items() if "restores" in k), done["prunes"]) >= times

    def _until_over(self, actor: Callable[[], None]) -> None:
        try:
            actor()
        finally:
            self._over.set()

    # ------------------------------------------------------------------ the actors

    def _write(self, who: str) -> None:
        rng = random.Random(f"{self.seed} {who}")
        source = self.ours.repo.parent / f"source-{who}"
        source.mkdir()
        number = 0
        while not self._over.is_set():
            number += 1
            self._change(source, rng)
            contents = {str(path.relative_to(source.parent)): path.read_bytes() for path in _files(source)}
            said = self._run(who, "--json", "backup", "--host", who, source.name)
            if said is None:
                continue
            (name,) = [
                fields["snapshot_id"]
                for line in said.splitlines()
                if line.startswith("{") and (fields := json.loads(line)).get("message_type") == "summary"
            ]
            with self._guard:
                self.announced.setdefault(who, []).append(name)
                self.held[name] = contents
            self._did(f"backups by {who}")

    @staticmethod
    def _change(source: Path, rng: random.Random) -> None:
        """Some files of each run are those of the other writer too, or were there before."""
        for _ in range(3):
            (source / f"{rng.randrange(12)}").write_bytes(random.Random(rng.randrange(40)).randbytes(30_000))
        (source / "large").write_bytes(rng.randbytes(700_000))

    def _read(self) -> None:
        rng = random.Random(f"{self.seed} reader")
        target = self.ours.repo.parent / "restored"
        while not self._over.is_set():
            with self._guard:
                names = [name for host in self.announced.values() for name in host[-2:]]
            if not names:
                time.sleep(0.05)
                continue
            name, who = rng.choice(names), rng.choice(["ours", "stock"])
            said = self._run(who, "restore", name, "--target", target, "--verify", may_be_missing=True)
            if said is not None:
                restored = {str(path.relative_to(target)): path.read_bytes() for path in _files(target)}
                assert restored == self.held[name], name
                self._did(f"restores by {who}")
            shutil.rmtree(target, ignore_errors=True)

    def _prune(self) -> None:
        rng = random.Random(f"{self.seed} pruner")
        while not self._over.wait(0.2):
            who = rng.choice(["ours", "stock"])
            forget = ["forget", "--group-by", "host", "--keep-last", f"{KEEP}", "--prune", "--max-unused", "0"]
            if self._run(who, *forget) is not None:
                self._did("prunes", f"prunes by {who}")

    def _did(self, *what: str) -> None:
        with self._guard:
            self.done.update(what)

    def _run(self, who: str, *args: str | Path, may_be_missing: bool = False) -> str | None:
        """Run a command; None if it was locked out, or may find that its snapshot was forgotten."""
        top = self.ours.repo.parent
        if who == "ours":
            command, env = self.ours.command(*args), self.ours.environment()
        else:
            command = [str(self.restic.binary), *map(str, args)]
            env = self.restic.environment(self.ours.repo, PASSWORD)
        done = subprocess.run(command, env=env, cwd=top, capture_output=True, text=True, timeout=300, check=False)
        said = done.stdout + done.stderr
        if done.returncode == LOCKED:
            self._did(f"{who} locked out")
            time.sleep(0.05)
            return None
        if done.returncode and may_be_missing and ("HF-SNAPSHOT-MISSING" in said or "no matching ID" in said):
            return None
        assert done.returncode == 0, f"{who} {args}: exit {done.returncode}\n{said}"
        return done.stdout

    # ------------------------------------------------------------------ afterwards

    def assert_nothing_lost(self) -> None:
        """The newest snapshots of each writer are there, all that are there are whole, and nobody left a lock."""
        repository = self.ours.open()
        there = {snapshot.id: snapshot for snapshot in repository.snapshots()}
        for names in self.announced.values():
            assert set(names[-KEEP:]) <= there.keys()
        for name, snapshot in there.items():
            found = {path.decode(): data for path, data in contents_below(repository, snapshot.tree).items()}
            assert found == self.held[name]
        assert not repository.ids("locks")
        self.restic.run(self.ours.repo, "check", "--read-data")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]

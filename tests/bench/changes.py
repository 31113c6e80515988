"""What happens to a source between two backups, and back again."""

import json
import os
import random
import shutil
from pathlib import Path

from tests.bench.datasets import STAMP, Dataset

SHARE = 0.01  # of the files
LARGE = 1 << 20  # bytes; a file beyond this is changed in three places


def file_names(folder: Path) -> list[str]:
    """Every file below a folder, relative to it, in a stable order."""
    found = []
    for top, folders, files in os.walk(folder):
        folders.sort()
        found += [os.path.relpath(os.path.join(top, name), folder) for name in sorted(files)]
    return found


def edited(data: bytes, rng: random.Random) -> bytes:
    """The content with a comment inserted at random places."""
    for _ in range(3 if len(data) > LARGE else 1):
        at = rng.randrange(len(data) + 1)
        data = data[:at] + b"/* edited %016x */\n" % rng.getrandbits(64) + data[at:]
    return data


class Changes:
    """Changes to a data set that can be taken back, also by a later process: originals are kept beside a journal."""

    def __init__(self, dataset: Dataset, kept: Path, seed: str) -> None:
        """Take back what an interrupted process left changed, then be ready."""
        self.dataset, self.kept, self.seed = dataset, kept, seed
        self.rounds = 0
        self.take_back()

    @property
    def _journal(self) -> Path:
        return self.kept / "journal"

    def _replace(self, name: str, data: bytes) -> None:
        path = self.dataset.folder / name
        self.kept.mkdir(parents=True, exist_ok=True)
        original = self.kept / str(len(os.listdir(self.kept)))
        mode = path.stat().st_mode
        with self._journal.open("a") as journal:
            journal.write(json.dumps([original.name, name]) + "\n")
        path.rename(original)
        path.write_bytes(data)
        path.chmod(mode & 0o7777)
        os.utime(path, (STAMP * 1.01 + self.rounds, STAMP * 1.01 + self.rounds))

    def day_passes(self, *, to_following: bool = False) -> None:
        """Change one file in a hundred; to_following: swap in the prescribed next day where there is one."""
        self.rounds += 1
        if to_following and self.dataset.following:
            for name in file_names(self.dataset.folder):
                self._replace(name, (self.dataset.following / name).read_bytes())
            return
        rng = random.Random(f"{self.seed}/{self.rounds}")
        names = file_names(self.dataset.folder)
        for name in rng.sample(names, max(1, int(len(names) * SHARE))):
            self._replace(name, edited((self.dataset.folder / name).read_bytes(), rng))

    def take_back(self) -> None:
        """Put every original back, the latest change first."""
        if self._journal.exists():
            entries = [json.loads(line) for line in self._journal.read_text().splitlines()]
            for original, name in reversed(entries):
                if (self.kept / original).exists():
                    (self.kept / original).replace(self.dataset.folder / name)
        shutil.rmtree(self.kept, ignore_errors=True)
        self.rounds = 0

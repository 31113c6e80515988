"""The generated data: the same seed, scale and corpus give the same bytes."""

import functools
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.corpus import Corpus, default_corpus
from tests.bench.dumps import write_dumps

EDITION = 1  # raise when the generator changes
STAMP = 1_700_000_000  # seconds; files get times from here on, so that nothing is newer than a backup
DAY = 86_400
NAMES = ("site", "dump", "media", "many", "eighth")


@dataclass(frozen=True)
class Dataset:
    """A source folder; following holds the same files as they are the next day, where that is prescribed."""

    name: str
    folder: Path
    following: Path | None = None


class Writer:
    """Writes files with rising times and counts them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = 0
        self._made: set[str] = set()

    def write(self, relative: str, data: bytes) -> None:
        path = self.root / relative
        parent = os.path.dirname(relative)
        if parent not in self._made:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(parent)
        with open(path, "wb") as handle:
            handle.write(data)
        os.utime(path, (STAMP + self.files, STAMP + self.files))
        self.files += 1


def source_size(rng: random.Random) -> int:
    """Bytes of one source file: 1 to 40 KB, log-normal as real ones are, the median near 8 KB."""
    return max(1024, min(40_960, int(rng.lognormvariate(9.0, 0.9))))


def make_site(root: Path, corpus: Corpus, scale: float, rng: random.Random) -> None:
    """Hosting accounts that share the core of one application and have code, folders and pictures of their own."""
    out = Writer(root)
    accounts = [f"home/user{i:03d}/public_html" for i in range(max(2, int(60 * scale)))]
    core = []
    for i in range(int(170 * min(1.0, scale * 4))):
        (kind,) = rng.choices(("php", "js", "css"), (8, 2, 1))
        core.append((f"core/part{i % 13}/unit{i:04d}.{kind}", corpus.cut(rng, kind, source_size(rng))))
    for account in accounts:
        for name, data in core:
            out.write(f"{account}/{name}", data)
    own = int(44_000 * scale)
    folders = [own_folders(rng, account, own // len(accounts) // 8) for account in accounts]
    for i in range(own):
        (kind,) = rng.choices(("php", "js", "css", "html"), (55, 22, 11, 12))
        folder = rng.choice(folders[rng.randrange(len(accounts))])
        out.write(f"{folder}/file{i:05d}.{kind}", b"/* %d */\n" % i + corpus.cut(rng, kind, source_size(rng)))
    for i in range(int(6_000 * scale)):
        month = f"{rng.choice(accounts)}/uploads/{rng.randrange(2018, 2025)}/{rng.randrange(1, 13):02d}"
        size = int(rng.triangular(20_000, 300_000, 90_000))
        out.write(f"{month}/picture{i:05d}.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + rng.randbytes(size))


def own_folders(rng: random.Random, account: str, count: int) -> list[str]:
    """A random tree below an account; folders near its top have more children."""
    words = ("plugins", "themes", "modules", "templates", "assets", "lib", "vendor", "cache", "lang", "admin")
    folders = [account]
    for i in range(max(3, count)):
        folders.append(f"{folders[int(rng.random() ** 1.5 * len(folders))]}/{rng.choice(words)}{i}")
    return folders


def make_media(root: Path, scale: float, rng: random.Random) -> None:
    """Files of 5 to 50 MB that do not compress."""
    left, number = int(2_000_000_000 * scale), 0
    while left > 0:
        size = min(rng.randrange(5_000_000, 50_000_001), max(left, 5_000_000))
        path = root / f"album{number // 12:02d}" / f"clip{number:03d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as handle:
            for start in range(0, size, 4 << 20):
                handle.write(rng.randbytes(min(4 << 20, size - start)))
        os.utime(path, (STAMP + number, STAMP + number))
        left -= size
        number += 1


def make_many(root: Path, corpus: Corpus, scale: float, rng: random.Random) -> None:
    """Tiny files, twenty in a folder, five levels deep and eight ways wide."""
    out = Writer(root)
    count = int(500_000 * scale)
    while out.files < count:
        leaf = out.files // 20
        path = "/".join(f"d{leaf // 8**level % 8}" for level in range(5))
        for _ in range(min(20, count - out.files)):
            size = rng.randrange(2049)
            out.write(f"{path}/f{out.files:06d}.dat", (b"%d\n" % out.files + corpus.cut(rng, "js", size))[:size])


def make_dump(root: Path, corpus: Corpus, scale: float, seed: str) -> None:
    """One database dump, and beside the folder the one of the next day."""
    days = (root / "db.sql", root.with_name("dump.next") / "db.sql")
    for path in days:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_dumps(*days, corpus, scale, seed)
    for number, path in enumerate(days):
        os.utime(path, (STAMP + number * DAY, STAMP + number * DAY))


def make(name: str, base: Path, scale: float, seed: str, corpus: Callable[[], Corpus]) -> None:
    rng = random.Random(f"{seed}/{name}")
    root = base / name
    if name == "site":
        make_site(root, corpus(), scale, rng)
    elif name == "dump":
        make_dump(root, corpus(), scale, seed)
    elif name == "media":
        make_media(root, scale, rng)
    else:
        make_many(root, corpus(), scale, rng)


class Library:
    """The generated data below one folder; each set is made once for a scale and a seed."""

    def __init__(self, folder: Path, scale: float, seed: str, corpus: Callable[[], Corpus] = default_corpus) -> None:
        self.base = folder / f"data-{scale:g}-{seed}"
        self.scale, self.seed = scale, seed
        self._text = functools.cache(corpus)

    def get(self, name: str) -> Dataset:
        """The set of this name, made first if need be. `eighth` is a part of `many` that stays in the page cache."""
        whole = "many" if name == "eighth" else name
        mark = self.base / f"{whole}.json"
        made_from = {"edition": EDITION, "scale": self.scale, "seed": self.seed}
        if not mark.exists() or json.loads(mark.read_text()) != made_from:
            began = time.monotonic()
            for folder in (self.base / whole, self.base / f"{whole}.next"):
                shutil.rmtree(folder, ignore_errors=True)
            make(whole, self.base, self.scale, self.seed, self._text)
            mark.write_text(json.dumps(made_from))
            print(f"bench: made {whole} in {time.monotonic() - began:.0f} s", flush=True)
        folder = self.base / whole
        following = self.base / f"{whole}.next"
        return Dataset(name, folder / "d0" if name == "eighth" else folder, following if following.exists() else None)

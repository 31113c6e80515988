"""Real text to cut generated files from, so that they compress as real files do."""

import random
import sysconfig
from pathlib import Path

from tests.fetch import NotObtainable, codename, fetch_package

SUFFIXES = {
    "php": {".php", ".inc", ".twig", ".phtml"},
    "js": {".js", ".mjs", ".ts"},
    "css": {".css", ".scss", ".less"},
    "html": {".html", ".htm", ".svg", ".md"},
    "other": {".py", ".txt", ".h", ".c"},
}
WEB_PACKAGES = ("wordpress", "mediawiki", "phpmyadmin", "roundcube-core", "dokuwiki")
POOL_SIZE = 48 << 20  # bytes of each kind
SMALL = 1 << 20


class Corpus:
    """Pools of text by kind; a kind with too little of its own is cut from everything."""

    def __init__(self, roots: list[Path]) -> None:
        """Read text below these folders, in a stable order. Raises ValueError when there is less than a megabyte."""
        found = {kind: _read_kind(roots, suffixes) for kind, suffixes in SUFFIXES.items()}
        everything = b"".join(found.values())
        if len(everything) < SMALL:
            raise ValueError("too little text to cut from")
        self._pools = {kind: pool if len(pool) >= SMALL else everything for kind, pool in found.items()}

    def cut(self, rng: random.Random, kind: str, size: int) -> bytes:
        """A piece of text of this size, from anywhere in the pool."""
        pool = self._pools[kind]
        start = rng.randrange(max(1, len(pool) - size))
        return pool[start : start + size]

    def quoted(self, kind: str, limit: int) -> str:
        """The first bytes of a pool as the inside of an SQL string literal, in ASCII."""
        text = self._pools[kind][:limit].decode("ascii", "replace").replace("�", "?")
        return text.translate({ord("\\"): "\\\\", ord("'"): "\\'", ord("\n"): "\\n", ord("\r"): None})


def _read_kind(roots: list[Path], suffixes: set[str]) -> bytes:
    pool = bytearray()
    for root in roots:
        for path in sorted(root.rglob("*")):
            if len(pool) >= POOL_SIZE:
                return bytes(pool)
            if path.suffix.lower() in suffixes and path.is_file() and not path.is_symlink():
                pool += path.read_bytes()[:400_000]
    return bytes(pool)


def web_code() -> list[Path]:
    """Folders with the code of well-known web applications, as far as they can be had here."""
    folders = []
    for package in WEB_PACKAGES:
        try:
            folders.append(fetch_package(package, codename() or "stable"))
        except NotObtainable as error:
            print(f"bench: no {package} for the corpus: {error}", flush=True)
    return folders


def default_corpus() -> Corpus:
    """Web applications where they can be had, and Python's standard library."""
    return Corpus([*web_code(), Path(sysconfig.get_path("stdlib"))])

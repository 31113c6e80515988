"""The command lines of the engines that are compared."""

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.fetch import NotObtainable, cache_folder
from tests.peers import SUITES, find_restic

PASSWORD = "bench"
KEEP = 2  # snapshots that the forget step leaves
ROOT = Path(__file__).resolve().parents[2]
BORG_VERSION = "1.4.5"


@dataclass(frozen=True)
class Place:
    """Where one repetition of one engine works; a backup runs in the source, a restore in the target."""

    source: Path
    work: Path

    @property
    def repository(self) -> Path:
        return self.work / "repository"

    @property
    def cache(self) -> Path:
        return self.work / "cache"

    @property
    def target(self) -> Path:
        return self.work / "restored"

    @property
    def password_file(self) -> Path:
        return self.work / "password"

    @property
    def temporary(self) -> Path:
        return self.work / "tmp"


Commands = list[list[str]]


@dataclass(frozen=True)
class Engine:
    """One engine: its name, its version, its variables, and what it runs for each kind of step."""

    name: str
    version: str
    environment: Callable[[Place], Mapping[str, str]] = field(repr=False)
    commands: Callable[[str, Place], Commands] = field(repr=False)


def said(*command: str | Path) -> str:
    """The first line a program prints."""
    done = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def number_in(text: str) -> str:
    found = re.search(r"\d+(\.\d+)+", text)
    return found.group() if found else "?"


def inherited(place: Place) -> dict[str, str]:
    """This process's variables without any engine's own, with private folders for caches and temporary files."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("RESTIC_", "BORG_", "HOLDFAST_", "PYTHON"))}
    return {**own, "XDG_CACHE_HOME": str(place.cache), "TMPDIR": str(place.temporary)}


def compile_bytecode(python: str) -> None:
    """Bring the environment into the state that any installation is in after its first run."""
    for folder in (sysconfig.get_path("purelib"), "backups", "destinations", "restores"):
        command = [python, "-m", "compileall", "-q", "-j", "0", folder]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)


def holdfast(python: str = sys.executable) -> Engine:
    """This project's engine, by its command line."""
    compile_bytecode(python)

    def commands(kind: str, place: Place) -> Commands:
        base = [python, "-m", "backups.engine", "--repo", str(place.repository), "--password-file"]
        base.append(str(place.password_file))
        return [
            base + last
            for last in {
                "init": [["init"]],
                "backup": [["backup", "."]],
                "restore": [["restore", "latest", "--target", str(place.target)]],
                "check": [["check"]],
                "check-data": [["check", "--read-data"]],
                "prune": [["forget", "--keep-last", str(KEEP), "--prune"]],
            }[kind]
        ]

    return Engine("holdfast", number_in(said(python, "-m", "backups.engine", "--version")), inherited, commands)


def restic(binary: Path) -> Engine:
    """Stock restic with its defaults."""

    def environment(place: Place) -> Mapping[str, str]:
        own = {"RESTIC_REPOSITORY": str(place.repository), "RESTIC_PASSWORD": PASSWORD}
        return {**inherited(place), **own, "RESTIC_CACHE_DIR": str(place.cache)}

    def commands(kind: str, place: Place) -> Commands:
        words = {
            "init": "init",
            "backup": "backup .",
            "restore": f"restore latest --target {place.target}",
            "check": "check",
            "check-data": "check --read-data",
            "prune": f"forget --keep-last {KEEP} --prune",
        }[kind]
        return [[str(binary), "-q", *words.split(" ")]]

    return Engine("restic", number_in(said(binary, "version")), environment, commands)


def borg(binary: Path) -> Engine:
    """borg 1.x with its defaults."""

    def environment(place: Place) -> Mapping[str, str]:
        own = {"BORG_REPO": str(place.repository), "BORG_BASE_DIR": str(place.cache), "BORG_PASSPHRASE": PASSWORD}
        return {**inherited(place), **own}

    def commands(kind: str, place: Place) -> Commands:
        program = str(binary)
        if kind == "restore":
            listing = [program, "list", "--last", "1", "--short"]
            env = dict(environment(place))
            newest = subprocess.run(listing, env=env, capture_output=True, text=True, check=True).stdout.strip()
            return [[program, "extract", f"::{newest}"]]
        return {
            "init": [[program, "init", "--encryption", "repokey"]],
            "backup": [[program, "create", "::{now:%Y%m%dT%H%M%S.%f}", "."]],
            "check": [[program, "check"]],
            "check-data": [[program, "check", "--verify-data"]],
            "prune": [[program, "prune", "--keep-last", str(KEEP)], [program, "compact"]],
        }[kind]

    return Engine("borg", number_in(said(binary, "--version")), environment, commands)


def newest_restic() -> Path | None:
    """The newest stock restic to be had, also from the path."""
    for suite in [*reversed(SUITES), "path"]:
        try:
            return find_restic(suite)
        except NotObtainable as error:
            print(f"bench: {error}", flush=True)
    return None


def install_borg() -> Path:
    """borg in an environment of its own in the cache folder; it is built from source there.

    Raises NotObtainable: it wants a compiler and the headers of libacl, lz4, zstd, xxhash and openssl.
    """
    folder = cache_folder() / f"borg-{BORG_VERSION}"
    binary = folder / "bin" / "borg"
    if binary.exists():
        return binary
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    command = [str(folder / "bin" / "pip"), "install", "--quiet", f"borgbackup=={BORG_VERSION}"]
    if subprocess.run(command, check=False).returncode:
        raise NotObtainable(
            "borg could not be built (Debian: libacl1-dev liblz4-dev libzstd-dev libxxhash-dev libssl-dev)"
        )
    return binary

"""Get programs of other Debian suites into a cache folder, without touching the system and without root.

A second apt configuration (own source list, lists and cache) reads the mirror that this machine is already set up with;
a package is unpacked, never installed, which suits programs that are one static file.
"""

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REFRESH_AFTER = 7 * 86400  # seconds; the newest suite moves
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class NotObtainable(Exception):
    """The program cannot be had on this machine; the text says why."""


@dataclass(frozen=True)
class Mirror:
    """A Debian archive that apt is set up with: where it is and the key ring that signs it."""

    uri: str
    keyring: str


# Read once, here: the fixtures give everything that tests start another XDG_CACHE_HOME.
_USER_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
_CACHE = Path(os.environ.get("HOLDFAST_TEST_CACHE") or _USER_CACHE / "holdfast-tests")


def cache_folder() -> Path:
    """Where fetched programs stay from run to run. HOLDFAST_TEST_CACHE overrides it."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    return _CACHE


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold a lock that the other test processes of this machine respect."""
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def os_release() -> dict[str, str]:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines) if value}


def codename() -> str:
    """The Debian suite of this machine, or '' on anything else."""
    release = os_release()
    return release.get("VERSION_CODENAME", "") if release.get("ID") == "debian" else ""


def _fields(stanza: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in stanza.splitlines() if line[:1] not in ("#", " ", ""))
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _described_mirrors(etc: Path) -> Iterator[tuple[str, str, str]]:
    """Every (address, suites, key ring) of apt's source files, in both of their notations."""
    for path in sorted(etc.glob("sources.list.d/*.sources")):
        for stanza in path.read_text().split("\n\n"):
            found = _fields(stanza)
            if found.get("uris") and found.get("enabled", "yes") != "no":
                yield found["uris"].split()[0], found.get("suites", ""), found.get("signed-by", "")
    for path in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]:
        for line in path.read_text().splitlines() if path.exists() else ():
            words = [
                word for word in line.split() if not word.startswith(("[", "signed-by=")) and not word.endswith("]")
            ]
            if words[:1] == ["deb"] and len(words) > 2:
                yield words[1], words[2], ""


def find_mirror(etc: Path = Path("/etc/apt")) -> Mirror:
    """The archive that serves this machine's own suite.

    Raises NotObtainable where there is none, or where it is not Debian's.
    """
    suite = codename()
    if not suite or not shutil.which("apt-get"):
        raise NotObtainable("this is no Debian system with apt")
    for uri, suites, keyring in _described_mirrors(etc):
        if suite in suites.split():
            ring = keyring if keyring.startswith("/") else str(KEYRING)
            if Path(ring).exists():
                return Mirror(uri, ring)
    raise NotObtainable(f"apt has no source for the suite {suite}")


def _run(command: list[str], cwd: Path) -> None:
    env = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise NotObtainable(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")


def _apt(folder: Path, suite: str) -> list[str]:
    """An apt-get command line that knows one suite and keeps its state in this folder."""
    mirror = find_mirror()
    for name in ("lists/partial", "cache/archives/partial", "parts"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(f"deb [signed-by={mirror.keyring}] {mirror.uri} {suite} main\n")
    options = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": folder / "parts",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
    }
    return ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]


def _unpack(package: str, suite: str, target: Path) -> None:
    apt_folder = target.parent / f"apt-{suite}"
    apt = _apt(apt_folder, suite)
    _run([*apt, "update"], apt_folder)
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    _run([*apt, "download", f"{package}/{suite}"], part)
    (archive,) = part.glob("*.deb")
    _run(["dpkg", "-x", archive.name, "."], part)
    archive.unlink()
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    shutil.rmtree(apt_folder / "lists", ignore_errors=True)


def fetch_package(package: str, suite: str) -> Path:
    """Folder with the unpacked package of a suite.

    A copy older than a week is renewed when the archive answers. Raises NotObtainable.
    """
    folder = cache_folder() / "debian"
    folder.mkdir(exist_ok=True)
    target = folder / f"{package}-{suite}"
    with file_lock(folder / f"{package}-{suite}.lock"):
        if target.exists() and time.time() - target.stat().st_mtime < REFRESH_AFTER:
            return target
        try:
            _unpack(package, suite, target)
            os.utime(target)
        except (NotObtainable, subprocess.TimeoutExpired) as error:
            if not target.exists():
                raise NotObtainable(f"{package} of {suite}: {error}") from error
    return target


def fetch(package: str, suite: str, program: str) -> Path:
    """Path of a program, given relative to the package's root, as that suite has it. Raises NotObtainable."""
    path = fetch_package(package, suite) / program
    if not path.exists():
        raise NotObtainable(f"{package} of {suite} has no {program}")
    return path

"""Stock restic for interoperability tests: this distribution's version and newer ones.

`restic` runs a test once with each version, `newest_restic` once, `all_restics` gives them together, oldest first.
`restic_repository` makes a fresh repository from a template: stock restic takes seconds to derive a first key.
"""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fetch import NotObtainable, cache_folder, codename, fetch, file_lock
from tests.needs import missing

PASSWORD = "correct horse"
SUITES = list(dict.fromkeys([codename() or "path", *(["trixie", "sid"] if codename() else [])]))


@dataclass(frozen=True)
class Restic:
    """One stock restic. Its cache is private, and apart for each repository path: copies share an id."""

    binary: Path
    version: tuple[int, ...]
    caches: Path = field(repr=False)

    def environment(
        self, repo: Path | str, password: str = PASSWORD, env: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The variables a call runs with."""
        cache = self.caches / hashlib.sha256(os.fsencode(repo)).hexdigest()[:16]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("RESTIC_")}
        own = {"RESTIC_REPOSITORY": str(repo), "RESTIC_PASSWORD": password, "RESTIC_CACHE_DIR": str(cache)}
        return {**inherited, **own, "RESTIC_PROGRESS_FPS": "0.01", **(env or {})}

    def output(
        self,
        repo: Path | str,
        *args: str | Path,
        password: str = PASSWORD,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        stdin: bytes | None = None,
        cwd: Path | None = None,
        timeout: float = 240,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one command and keep its output as bytes; with check, a failure fails the test and shows what it said."""
        command = [str(self.binary), *map(str, args)]
        variables = self.environment(repo, password, env)
        done = subprocess.run(
            command, env=variables, input=stdin, cwd=cwd, capture_output=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace")[-4000:]
            pytest.fail(f"restic {self} {' '.join(map(str, args))}: exit {done.returncode}\n{said}")
        return done

    def run(self, repo: Path | str, *args: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """The same with text; bytes that are not UTF-8 come as surrogates."""
        done = self.output(repo, *args, **options)
        text = functools.partial(bytes.decode, encoding="utf-8", errors="surrogateescape")
        return subprocess.CompletedProcess(done.args, done.returncode, text(done.stdout), text(done.stderr))

    def json(self, repo: Path | str, *args: str | Path, **options: Any) -> Any:
        """Run with --json: the one document a command printed."""
        return json.loads(self.run(repo, "--json", *args, **options).stdout)

    def events(self, repo: Path | str, *args: str | Path, **options: Any) -> list[Any]:
        """Run with --json: the documents a command printed one a line (backup, restore, check, find, ls)."""
        return [
            json.loads(line)
            for line in self.run(repo, "--json", *args, **options).stdout.splitlines()
            if line[:1] in "{["
        ]

    def start(
        self, repo: Path | str, *args: str | Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command and leave it running; its output is on pipes."""
        command = [str(self.binary), *map(str, args)]
        return subprocess.Popen(
            command,
            env=self.environment(repo, env=env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.PIPE,
        )

    def __str__(self) -> str:
        return ".".join(map(str, self.version))


def find_restic(suite: str) -> Path:
    """The restic of a Debian suite; elsewhere the one on the path. Raises NotObtainable."""
    if suite != "path":
        return fetch("restic", suite, "usr/bin/restic")
    found = shutil.which("restic")
    if not found:
        raise NotObtainable("no restic on the path, and no Debian archive to fetch it from")
    return Path(found)


def version_of(binary: Path) -> tuple[int, ...]:
    said = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=60, check=True).stdout
    found = re.match(r"restic (\d+)\.(\d+)\.(\d+)", said)
    if not found:
        raise NotObtainable(f"{binary} is not restic: {said[:80]!r}")
    return tuple(map(int, found.groups()))


@functools.cache
def _stock(suite: str, caches: Path) -> Restic | str:
    """The wrapper, or the reason why there is none: asked once a process."""
    try:
        binary = find_restic(suite)
        found = Restic(binary, version_of(binary), caches)
    except NotObtainable as error:
        return str(error)
    (cache_folder() / f"restic-{suite}.version").write_text(str(found))
    return found


def _need(suite: str, caches: Path) -> Restic:
    found = _stock(suite, caches)
    if isinstance(found, str):
        missing(found)
    return found


@pytest.fixture(scope="session")
def restic_caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the private caches of this test process."""
    return tmp_path_factory.mktemp("restic-caches")


@pytest.fixture(params=SUITES)
def restic(request: pytest.FixtureRequest, restic_caches: Path) -> Restic:
    """Stock restic, one version after the other."""
    return _need(request.param, restic_caches)


@pytest.fixture
def newest_restic(restic_caches: Path) -> Restic:
    """The newest stock restic that can be had."""
    return _need(SUITES[-1], restic_caches)


@pytest.fixture
def all_restics(restic_caches: Path) -> list[Restic]:
    """Every stock restic, oldest first."""
    return sorted((_need(suite, restic_caches) for suite in SUITES), key=lambda one: one.version)


RepositoryMaker = Callable[..., Path]


@pytest.fixture(scope="session")
def restic_templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of empty repositories, shared by the processes of one run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "restic-templates"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def restic_repository(restic_templates: Path, tmp_path: Path) -> RepositoryMaker:
    """Call with (restic, version=2, name="repository"): a fresh empty repository made by this restic with PASSWORD."""

    def make(restic: Restic, version: int = 2, name: str = "repository") -> Path:
        template = restic_templates / f"{restic}-v{version}"
        with file_lock(restic_templates / f"{restic}-v{version}.lock"):
            if not template.exists():
                part = restic_templates / f"{restic}-v{version}.part"
                restic.run(part, "init", "--repository-version", str(version))
                part.rename(template)
        return Path(shutil.copytree(template, tmp_path / name))

    return make


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which versions stood on the other side: the newest suite moves."""
    files = [(suite, cache_folder() / f"restic-{suite}.version") for suite in SUITES]
    known = ", ".join(f"{path.read_text()} ({suite})" for suite, path in files if path.exists())
    if known:
        terminalreporter.write_line(f"stock restic: {known}")

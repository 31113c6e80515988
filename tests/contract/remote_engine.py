"""The engine's command line over any location, as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests import forking

PASSWORD = "correct horse"


class Ours:
    """Runs our engine on one location with one environment."""

    def __init__(self, location: str, env: Mapping[str, str], folder: Path) -> None:
        self.location, self._folder = location, folder
        secret = folder / "password"
        secret.write_text(PASSWORD)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._env = {**kept, **env, "XDG_CACHE_HOME": str(folder / "cache")}
        self._start = [sys.executable, "-m", "backups.engine", "-r", location, "-p", str(secret)]

    def run(self, *arguments: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a verb, whatever comes of it."""
        done: subprocess.CompletedProcess[str] = forking.run(
            [*self._start, *map(str, arguments)], cwd=forking.ROOT, env=self._env, timeout=timeout, text=True
        )
        return done

    def done(self, *arguments: str | Path) -> str:
        """Run a verb that has to work, and return what it said."""
        run = self.run(*arguments)
        assert run.returncode == 0, f"{arguments[0]}: exit {run.returncode}\n{run.stdout[-2000:]}\n{run.stderr[-3000:]}"
        return run.stdout

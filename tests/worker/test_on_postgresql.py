"""What the panel's tests prove on SQLite holds on PostgreSQL too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.servers import lend

_ROOT = Path(__file__).parents[2]
_FEW = "not (doors and (rex or otto or mallory or OPTIONS or HEAD))"
"""The walks of two people say what the database changes; those of the others say it on SQLite."""
_CORE = ("tests/panel/test_work.py", "tests/panel/test_doors.py")


def test_migrations_work_and_doors_hold_on_postgresql(tmp_path: Path) -> None:
    url = f"{lend('postgresql')['url']}panel_{os.getpid()}"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--create-db",
         "--basetemp", str(tmp_path / "inner"), "-k", _FEW, *_CORE],
        cwd=_ROOT, env={**_plain(), "HOLDFAST_DATABASE_URL": url}, capture_output=True, text=True, check=False,
        timeout=280,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


def _plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "HOLDFAST_"))}

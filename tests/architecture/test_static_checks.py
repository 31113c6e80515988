"""Lint, formatting and types are part of the tests: one run says whether a revision is good."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKS = {
    "lint": ["ruff", "check"],
    "formatting": ["ruff", "format", "--check"],
    "types": ["mypy"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_project_passes(name: str) -> None:
    program, *args = CHECKS[name]
    command = [str(Path(sys.executable).with_name(program)), *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]

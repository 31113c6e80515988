"""The panel with 10,000 accounts, 10,000 schedules, 1,000,000 snapshots and 2,000,000 job items in PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.servers import lend


@pytest.mark.scale
def test_pages_ticks_and_claims_are_quick_in_a_large_installation() -> None:
    url = str(lend("postgresql")["url"])
    name = f"scale_{os.getpid()}"
    with psycopg.connect(url + "postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    run = subprocess.run(
        [sys.executable, "-m", "tests.scale", os.environ.get("SCALE", "1")],
        cwd=Path(__file__).parents[2], env={**os.environ, "HOLDFAST_DATABASE_URL": url + name}, check=False,
    )  # fmt: skip
    assert run.returncode == 0

"""A session gives way to the sites of the server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.worker.installation import ROOT

_ASK = (
    "import sys, os, psutil; from backups.session.limits import be_modest; before = os.nice(0);"
    "be_modest(7, sys.argv[1]); io = psutil.Process().ionice();"
    "print(os.nice(0) - before, int(io.ioclass), int(io.value), os.getpid())"
)


def ask(group: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", _ASK, group], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_session_lowers_its_priority_for_processor_and_disk(tmp_path: Path) -> None:
    lowered, io_class, io_level, _ = ask("")
    assert int(lowered) == min(7, 19 - os.nice(0))
    assert (io_class, io_level) == ("2", "7")


def test_a_session_enters_the_control_group_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").touch()
    *_, number = ask(str(tmp_path))
    assert (tmp_path / "cgroup.procs").read_text() == number


def test_a_control_group_that_is_not_there_stops_nothing(tmp_path: Path) -> None:
    assert len(ask(str(tmp_path / "gone"))) == 4

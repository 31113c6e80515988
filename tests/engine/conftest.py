"""Fixtures of the engine's tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.awkward import make_awkward_tree


@pytest.fixture(scope="session")
def awkward_parent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that holds the awkward tree under the name ``tree``, and nothing else.  Not to be changed."""
    parent = tmp_path_factory.mktemp("awkward")
    make_awkward_tree(os.fsencode(parent / "tree"))
    yield parent
    subprocess.run(["chmod", "-R", "u+rwX", parent / "tree"], check=False, capture_output=True)


@pytest.fixture
def awkward_tree(awkward_parent: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The awkward tree as a path relative to the working folder: nothing of a folder above gets into its snapshots."""
    monkeypatch.chdir(awkward_parent)
    return b"tree"


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user of this machine can reach and write to."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-test-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)

"""Fixtures for every test."""

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.peers", "tests.scheduling"]

# Some tests make very deep trees, and pytest removes temporary folders recursively, a descriptor for each level.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))
_most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(_most_files, 65_536), _most_files))

# Shared machines stall for seconds: a deadline would measure the neighbours.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the engine, and everything started from a test, out of the user's own cache folder."""
    folder = tmp_path_factory.mktemp("xdg-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        for name in [n for n in os.environ if n.startswith(("RESTIC_", "BORG_", "HOLDFAST_ENGINE_"))]:
            patch.delenv(name)
        yield folder

"""Which test process takes which tests, with ``--dist loadgroup``.

The marker that xdist has for it does nothing with the present pytest: it renames tests after they were collected, and
the names are read elsewhere now.  So the groups are those of the folders below.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

TOGETHER = ("tests/browser/", "tests/worker/")
"""Folders whose tests share something dear: a panel with a Chromium, whole installations."""


def group_of(nodeid: str) -> str:
    """Return what is done in one process: a folder's tests, or one test."""
    return next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid)


class _ByFolder(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """Schedule by folder where xdist was told to keep groups together."""
    return _ByFolder(config, log) if config.getoption("dist") == "loadgroup" else None

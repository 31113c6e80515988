"""Which test process takes which tests, with ``--dist loadgroup``.

The marker that xdist has for it does nothing with the present pytest: it renames tests after they were collected, and
the names are read elsewhere now.  So the groups are those of the folders below.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

TOGETHER = ("tests/browser/", "tests/worker/test_live", "tests/worker/")
"""Beginnings of tests that share something dear: a panel with a Chromium, whole installations."""
LONG = ("tests/worker/test_on_postgresql", "tests/contract/test_remote_repositories", "tests/interop/test_crowd",
        "tests/architecture/test_static_checks", "tests/contract/test_setup_page", "tests/interop/test_crash",
        "tests/panel/test_doors")  # fmt: skip
"""Beginnings of tests that take long alone: at the end of a run everybody would wait for them."""


def group_of(nodeid: str) -> str:
    """Return what is done in one process: tests that belong together, or one test."""
    return next((group for group in TOGETHER if nodeid.startswith(group) and not _is_long(nodeid)), nodeid)


def _is_long(nodeid: str) -> bool:
    return nodeid.startswith(LONG)


class _ByFolder(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

    def schedule(self) -> None:
        """Give out the groups first, then what takes long, then the rest as it comes."""
        self._in_order = False
        super().schedule()

    def _assign_work_unit(self, node: Any) -> None:
        if not self._in_order:
            self._in_order = True
            for scope in [scope for scope in self.workqueue if not _is_long(scope) and scope not in TOGETHER]:
                self.workqueue.move_to_end(scope)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """Schedule by folder where xdist was told to keep groups together."""
    return _ByFolder(config, log) if config.getoption("dist") == "loadgroup" else None

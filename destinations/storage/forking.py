"""What must not be inherited by a forked child: locks that another thread may hold, connections of the parent."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Has state that a forked child must replace before using it."""

    def renew_after_fork(self) -> None: ...


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Have ``thing.renew_after_fork()`` called in every child that this process forks while ``thing`` lives."""
    _renewables.add(thing)


def _renew_all() -> None:
    for thing in tuple(_renewables):
        thing.renew_after_fork()


os.register_at_fork(after_in_child=_renew_all)

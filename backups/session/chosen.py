"""Which paths of a tree were chosen: some of it, with all that is below them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from backups.spelling import outermost


class ChosenPaths:
    """Paths without a slash at either end.  However many and long they are, they need no more memory than their text.

    They are kept in order, none inside another one, each with a slash at its end: what a path lies in is the last one
    not behind it, and what lies in it follows at once.
    """

    def __init__(self, paths: Iterable[bytes]) -> None:
        self._ends = [path + b"/" for path in outermost(paths, b"/")]

    def holds(self, path: bytes) -> bool:
        """Tell whether a path was chosen, or lies in one that was."""
        end = path + b"/"
        place = bisect_right(self._ends, end)
        return place > 0 and end.startswith(self._ends[place - 1])

    def leads(self, path: bytes) -> bool:
        """Tell whether a chosen path lies in this one, which :meth:`holds` does not know."""
        end = path + b"/"
        place = bisect_left(self._ends, end)
        return place < len(self._ends) and self._ends[place].startswith(end)

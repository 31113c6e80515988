"""What a long verb looks at between two steps: may it go on, and who wants to know how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from backups.engine.ports import CancelToken, Progress, Silent

_SHOW_SECONDS = 0.25


class Watch:
    """The caller's side of a verb: ``progress`` is told, ``cancel`` may stop it.

    ``guard`` raises when writing on is not safe any more: the ``check`` of the lock that is held.
    """

    def __init__(
        self,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._progress = progress or Silent()
        self._cancel = cancel or CancelToken()
        self._guard = guard
        self._shown = 0.0
        self._item = ""

    def check(self) -> None:
        """Raise Canceled or what the guard raises, if it is time to stop."""
        self._cancel.check()
        self._guard()

    def step(self, item: str, *, done: int = 0, total: int = 0, size: int = 0, total_size: int = 0) -> None:
        """Check, and tell how many objects and bytes of the step ``item`` are done; too frequent calls are dropped."""
        self.check()
        now = time.monotonic()
        if item != self._item or now - self._shown >= _SHOW_SECONDS:
            self._item, self._shown = item, now
            self._progress.update(files=done, bytes=size, total_files=total, total_bytes=total_size, item=item)

    def problem(self, what: str, error: Exception) -> None:
        """Pass on one thing that failed and was left out."""
        self._progress.problem(what, str(error))

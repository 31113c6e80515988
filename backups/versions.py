"""The states of a path in all repositories of an account, told apart as if they were one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from backups.models import Repository, Snapshot, SnapshotKind
from panel.accounts.models import User
from panel.core.errors import PanelError

MOST_SNAPSHOTS = 400
MOST_OTHERS = 3
"""Other repositories that are looked through beside the one somebody looks at."""
OTHERS_SECONDS = 4.0
"""How long the page waits for them."""


class Asked(Protocol):
    """An open repository."""

    def ask(self, **command: Any) -> dict[str, Any]:
        """Return the answer to a command.  PanelError."""


def versions_of(opened: Callable[[Repository], Asked], user: User, snapshot: Snapshot, path: str) -> dict[str, Any]:
    """Return the states of a path in the snapshots of the same account that the user sees, newest first.

    Other repositories of the account are asked at the same time, and have a few seconds: those that do not answer
    are counted as ``silent``.  PanelError if the snapshot's own one does not.
    """
    rows = _rows(user, snapshot)
    own = rows.pop(snapshot.repository_id)
    others = [_Asking(opened, found, path) for found in list(rows.values())[:MOST_OTHERS]]
    until = time.monotonic() + OTHERS_SECONDS
    for other in others:
        other.start()
    answers = [(own, opened(snapshot.repository).ask(do="versions", snapshots=list(own), path=path))]
    for other in others:
        other.join(max(0.0, until - time.monotonic()))
    answers += [(other.rows, other.answer) for other in others if other.answer is not None]
    return {
        "entries": merged(_placed(found, answer["entries"]) for found, answer in answers),
        "missing": sum(answer["missing"] for _, answer in answers),
        "searched": sum(len(found) for found, _ in answers),
        "silent": len(rows) + 1 - len(answers),
    }


def merged(answers: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the versions of several repositories, newest first; those that share a mark are one."""
    found: list[dict[str, Any]] = []
    for versions in answers:
        before = list(found)
        for version in versions:
            marks = set(version.pop("marks"))
            same = next((one for one in before if one["marks"] & marks), None)
            if same is None:
                found.append(version | {"marks": marks})
            else:
                same["marks"] |= marks
                same["snapshots"] += version["snapshots"]
    for version in found:
        del version["marks"]
        version["snapshots"].sort(key=lambda one: -one["taken_at"])
    return sorted(found, key=lambda version: -version["snapshots"][0]["taken_at"])


class _Asking(threading.Thread):
    """Asks one repository; ``answer`` stays None if it does not answer."""

    def __init__(self, opened: Callable[[Repository], Asked], rows: dict[str, Snapshot], path: str) -> None:
        super().__init__(daemon=True)
        self.rows, self._path = rows, path
        self.answer: dict[str, Any] | None = None
        repository = next(iter(rows.values())).repository
        try:
            self._warm: Asked | None = opened(repository)
        except PanelError:
            self._warm = None

    def run(self) -> None:
        """Ask."""
        if self._warm is None:
            return
        try:
            self.answer = self._warm.ask(do="versions", snapshots=list(self.rows), path=self._path)
        except PanelError:
            return


def _rows(user: User, snapshot: Snapshot) -> dict[int, dict[str, Snapshot]]:
    """Return snapshots by repository and id, those of the snapshot's own repository always; newest first."""
    same = Snapshot.objects.visible_to(user).present().exclude(kind=SnapshotKind.SAFETY)
    same = same.filter(account=snapshot.account, repository__destination__is_enabled=True)
    same = same.filter(repository__destination__removed_at=None).select_related("repository__destination")
    found: dict[int, dict[str, Snapshot]] = {}
    for row in (*same.order_by("-taken_at")[:MOST_SNAPSHOTS], snapshot):
        found.setdefault(row.repository_id, {})[row.snapshot_id] = row
    return found


def _placed(rows: dict[str, Snapshot], versions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return versions with the rows of their snapshots instead of the ids."""
    for version in versions:
        version["snapshots"] = [
            {
                "pk": rows[name].pk,
                "taken_at": int(rows[name].taken_at.timestamp()),
                "place": rows[name].repository.destination.name,
            }
            for name in version["snapshots"]
        ]
    return versions

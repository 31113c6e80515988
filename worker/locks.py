"""The locks that sessions hold in repositories, noted with the attempts that work under them.

A session that could remove its lock says so.  A lock that is still noted, and none of whose attempts runs any more, is
ours and dead: the next session of that repository removes exactly it.
"""

from __future__ import annotations

from collections.abc import Iterable

from worker.models import Attempt


def note_lock(attempts: Iterable[int], lock_id: str) -> None:
    """Note which lock some attempts work under now."""
    Attempt.objects.filter(pk__in=list(attempts)).update(lock_id=lock_id)


def dead_locks(lease: str) -> list[str]:
    """Return the ids of locks that attempts left in the repository of a lease: they, or the storage, were lost."""
    mine = Attempt.objects.filter(item__lease=lease).exclude(lock_id="")
    dead = set(mine.exclude(outcome=Attempt.Outcome.RUNNING).values_list("lock_id", flat=True))
    living = set(mine.filter(outcome=Attempt.Outcome.RUNNING).values_list("lock_id", flat=True))
    return sorted(dead - living)


def forget_locks(lease: str, lock_ids: Iterable[str]) -> None:
    """Note that locks are gone."""
    Attempt.objects.filter(item__lease=lease, lock_id__in=list(lock_ids)).update(lock_id="")

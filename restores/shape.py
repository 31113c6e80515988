"""A plan's figures as a page shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

ROWS = (
    ("create", "Created", "plus"),
    ("replace", "Replaced", "refresh"),
    ("delete", "Deleted", "trash"),
    ("keep", "Kept as it is", "lock"),
    ("unchanged", "Unchanged, skipped", "check"),
)


@dataclass(slots=True)
class PlanRow:
    """One line: an action, how many items, how many bytes, and examples."""

    action: str
    label: str
    icon: str
    count: int = 0
    size: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class PlanShown:
    """All lines, zeros too.  ``complete`` False = the counting was stopped, the figures are a minimum."""

    rows: list[PlanRow]
    listed: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = True
    problems: int = 0
    needed: int = 0
    free: int | None = None

    @property
    def changes(self) -> int:
        """How many items change."""
        return sum(row.count for row in self.rows if row.action in ("create", "replace", "delete"))

    @property
    def writes(self) -> int:
        """How many bytes are written."""
        return sum(row.size for row in self.rows if row.action in ("create", "replace"))

    @property
    def deletes(self) -> int:
        """How many items are deleted."""
        return next(row.count for row in self.rows if row.action == "delete")

    @property
    def lacks_room(self) -> bool:
        """Whether the disk has too little space for it."""
        return self.free is not None and self.needed > self.free


def empty_plan() -> PlanShown:
    """Return a plan of nothing."""
    return PlanShown([PlanRow(*row) for row in ROWS])


def added(answers: Iterable[dict[str, Any]]) -> PlanShown:
    """Return the sum of what the engine answered for each part."""
    plan = empty_plan()
    for answer in answers:
        for row in plan.rows:
            count, size = answer["counts"].get(row.action, (0, 0))
            row.count += count
            row.size += size
            row.examples = (row.examples + answer["examples"].get(row.action, []))[:3]
        plan.listed += answer["entries"]
        plan.complete = plan.complete and answer["complete"]
        plan.problems += answer["problems"]
        plan.needed += answer["needed"]
        if answer["free"] is not None:
            plan.free = answer["free"] if plan.free is None else min(plan.free, answer["free"])
    return plan

"""Where the sealed texts of questions about keys belong."""

from __future__ import annotations

from panel.core.sealing import Place


def password_place(request_id: str) -> Place:
    """Return where the password of a request belongs."""
    return Place("reveal", "password", request_id)


def answer_place(schedule_id: int) -> Place:
    """Return where the answer belongs."""
    return Place("reveal", "key", str(schedule_id))


def pasted_place(schedule_id: int) -> Place:
    """Return where a key belongs that somebody pasted for a schedule."""
    return Place("reveal", "pasted", str(schedule_id))

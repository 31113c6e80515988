"""Where the two sealed texts of a key's reveal belong."""

from __future__ import annotations

from panel.core.sealing import Place


def password_place(request_id: str) -> Place:
    """Return where the password of a request belongs."""
    return Place("reveal", "password", request_id)


def answer_place(schedule_id: int) -> Place:
    """Return where the answer belongs."""
    return Place("reveal", "key", str(schedule_id))

"""Keys of schedules: made here, closed at once, opened by workers only."""

from __future__ import annotations

import hashlib
import secrets

from django.conf import settings

from panel.core.errors import Invalid
from panel.core.sealing import Place, PublicSealer

_LETTERS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LENGTH = 44
_LONGEST_KEY = 1000


def new_key() -> str:
    """Return a new password of 256 bits, in groups of four."""
    text = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
    return "-".join(text[start : start + 4] for start in range(0, _LENGTH, 4))


def fingerprint(key: str) -> str:
    """Return eight digits that tell keys apart and say nothing of them."""
    digest = hashlib.sha256(b"holdfast key " + key.encode()).hexdigest()
    return f"{digest[:4]} {digest[4:8]}"


def schedule_place(schedule_id: int) -> Place:
    """Return where a schedule's key belongs."""
    return Place("backups_schedule", "sealed_key", str(schedule_id))


def next_key_place(schedule_id: int) -> Place:
    """Return where the key belongs that a schedule changes to."""
    return Place("backups_schedule", "sealed_next_key", str(schedule_id))


def old_key_place(row_id: int) -> Place:
    """Return where a former key belongs."""
    return Place("backups_oldkey", "sealed_key", str(row_id))


def clean_key(text: str) -> str:
    """Return the key in a pasted text: its only line, without what surrounds it.  Invalid."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) != 1 or len(lines[0]) > _LONGEST_KEY:
        raise Invalid("Paste the content of one key file: a single line.")
    return lines[0]


def repository_place(repository_id: int) -> Place:
    """Return where a repository's key belongs."""
    return Place("backups_repository", "sealed_key", str(repository_id))


def sealer() -> PublicSealer:
    """Return what closes secrets in this installation."""
    return PublicSealer.load(settings.PUBLIC_KEY_FILE)

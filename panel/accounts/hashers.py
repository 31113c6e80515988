"""Password hashing that a flood of log-ins cannot turn into an attack on memory."""

from __future__ import annotations

from django.contrib.auth.hashers import Argon2PasswordHasher


class SmallArgon2Hasher(Argon2PasswordHasher):
    """Argon2id with 19 MiB, two passes and one lane, the smaller of the two recommended settings."""

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1

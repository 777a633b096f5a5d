"""Passwords are hashed with Argon2id, a few at a time: each takes memory on purpose.

Sixteen sign-ins at once would otherwise take 1.6 GB. Those who wait do so for the time of a few
hashes, no more than there are threads.
"""

from __future__ import annotations

import threading

from django.contrib.auth.hashers import Argon2PasswordHasher

AT_ONCE = 2
_slots = threading.BoundedSemaphore(AT_ONCE)


class BoundedArgon2PasswordHasher(Argon2PasswordHasher):
    """Argon2id with the second recommendation of RFC 9106: 64 MiB, three passes, four lanes.

    A hash of other parameters is verified with those, and replaced at the next sign-in.
    """

    time_cost = 3
    memory_cost = 65_536  # KiB
    parallelism = 4

    def encode(self, password: str, salt: str) -> str:
        """Hash a password when it is its turn."""
        with _slots:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Compare a password when it is its turn."""
        with _slots:
            return super().verify(password, encoded)

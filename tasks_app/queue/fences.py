"""A fence leads to its row: its first 48 bits are the row's primary key, the rest is chance.

It is a UUID of version 8 (RFC 9562), made in ``claim.sql``. With the key in it no index of fences
is needed: one of random values is what cost most for each row that was claimed and each that
ended. Whoever has the key has not the fence: statements ask for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

_CHANCE_BITS = 80


def row_of(fence: UUID) -> int:
    """Return the primary key of the only row that can have this fence."""
    return fence.int >> _CHANCE_BITS


def by_fence(fences: Sequence[UUID]) -> dict[str, list[int] | list[UUID]]:
    """Return the parameters of a statement that looks rows up by fence."""
    return {"rows": [row_of(fence) for fence in fences], "fences": list(fences)}

"""Transactions tried again when PostgreSQL asks for it, and what the log says of each try."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from django.db import DatabaseError
from psycopg import errors

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

T = TypeVar("T")
TRIES = 6
_AGAIN = (errors.DeadlockDetected, errors.SerializationFailure)


def retry_transaction(name: str, once: Callable[[], T]) -> T:
    """Run ``once``, a whole transaction, again after a deadlock or a serialization failure.

    Each failure that is tried again is one warning with its SQLSTATE; the last one is raised.
    """
    for attempt in range(1, TRIES):
        try:
            return once()
        except DatabaseError as error:
            cause = error.__cause__
            if not isinstance(cause, _AGAIN):
                raise
            logger.warning(
                "%s: tried again after SQLSTATE %s (%s), try %d of %d: %s",
                name,
                cause.sqlstate,
                type(cause).__name__,
                attempt,
                TRIES,
                str(cause).partition("\n")[0],
            )
    return once()

"""Runs the statements of ``tasks_app/sql``; tries transactions again when PostgreSQL asks."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from django.db import DatabaseError, connection, transaction
from psycopg import errors

from devops_manager.lib import sql

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_DIRECTORY = Path(__file__).resolve().parent.parent / "sql"
_TRIES = 6

P = ParamSpec("P")
R = TypeVar("R")


def run(name: str, **parameters: Any) -> list[Any]:
    """Run ``tasks_app/sql/<name>.sql`` in the current transaction; return named tuples."""
    return sql.run(_DIRECTORY, name, parameters)


def pin_plans() -> None:
    """Have the rest of the transaction look rows up by key, with or without statistics."""
    run("pin_plans")


def in_transaction(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` in a transaction, again after a deadlock or a serialisation failure.

    Inside a transaction of the caller's it runs once: only the outermost may run again, for only it
    starts afresh.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if connection.in_atomic_block:
            return function(*args, **kwargs)
        for attempt in range(1, _TRIES):
            try:
                with transaction.atomic():
                    return function(*args, **kwargs)
            except DatabaseError as error:
                if not isinstance(
                    error.__cause__, errors.DeadlockDetected | errors.SerializationFailure
                ):
                    raise
                logger.warning("%s: try %d: %s", function.__name__, attempt, error.__cause__)
        with transaction.atomic():
            return function(*args, **kwargs)

    return wrapped

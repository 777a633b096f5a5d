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

Call = tuple[str, dict[str, Any]]

P = ParamSpec("P")
R = TypeVar("R")


def run(name: str, **parameters: Any) -> list[Any]:
    """Run ``tasks_app/sql/<name>.sql`` in the current transaction; return named tuples."""
    return sql.run(_DIRECTORY, name, parameters)


def call(name: str, **parameters: Any) -> Call:
    """Return a statement to ``run_together``."""
    return name, parameters


def run_together(*calls: Call) -> list[list[Any]]:
    """Run statements that do not need each other's rows, in their order, in one round trip.

    What a batch costs is half waiting: for PostgreSQL, and after it for the interpreter, which the
    event loop has meanwhile.
    """
    return sql.run_together(_DIRECTORY, calls)


def in_transaction(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` in a transaction, again after a deadlock or a serialisation failure.

    All its statements look rows up by key, with or without statistics (``pin_plans.sql``): a plan
    is made once a connection and then kept, so it must not depend on who came first.
    Inside a transaction of the caller's it runs once: only the outermost may run again, for only it
    starts afresh.
    """

    def once(*args: P.args, **kwargs: P.kwargs) -> R:
        with transaction.atomic():
            run_together(call("pin_plans"))  # BEGIN goes with it
            return function(*args, **kwargs)

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if connection.in_atomic_block:
            return function(*args, **kwargs)
        for attempt in range(1, _TRIES):
            try:
                return once(*args, **kwargs)
            except DatabaseError as error:
                if not isinstance(
                    error.__cause__, errors.DeadlockDetected | errors.SerializationFailure
                ):
                    raise
                logger.warning("%s: try %d: %s", function.__name__, attempt, error.__cause__)
        return once(*args, **kwargs)

    return wrapped

"""Runs synchronous database work in a few threads, on Django's pooled connections."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import psycopg
from django.db import InterfaceError, OperationalError, connection

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

# What PostgreSQL being away, or the pool having no connection in time, looks like.
AWAY = (OperationalError, InterfaceError, psycopg.OperationalError)


class DatabaseAway(Exception):
    """PostgreSQL cannot be reached, or gave up on this work; nothing was answered yet."""


def detached(error: Exception) -> Exception:
    """Return an error without the frames that it came through.

    They hold who waits for it, who is given it: a circle, with all that was sent, that only the
    garbage collector finds, which rests.
    """
    return error.with_traceback(None)


class DatabaseThreads:
    """A few threads for database work; each takes a connection from the pool for one call."""

    def __init__(self, name: str, threads: int) -> None:
        """Prepare ``threads`` threads; they start when they are needed."""
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``function`` in a thread. Raises DatabaseAway for what a later try may mend."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._pool, lambda: _with_connection(function, *args, **kwargs)
            )
        except AWAY as error:
            raise DatabaseAway(str(error)) from error

    def close(self) -> None:
        """Let running calls end and take no more."""
        self._pool.shutdown(wait=False)


def _with_connection(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return function(*args, **kwargs)
    finally:
        # Gives the connection back to the pool, or throws it away when it broke.
        connection.close()

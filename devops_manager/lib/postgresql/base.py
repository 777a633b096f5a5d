"""The backend of django-prometheus, with one class of cursors and a pool that gives out no corpses.

django-prometheus makes a class of cursors each time that a connection is taken from the pool: one
for every request and every batch, which only the cyclic garbage collector takes away again.

Django's pool gives out what it has. After a crash of PostgreSQL each of its connections would fail
one request, long after PostgreSQL is back. Its health checks ask PostgreSQL once more for every
request, and wait a second, then two, between one dead connection and the next.
"""

from __future__ import annotations

import select
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import NO_DB_ALIAS
from django_prometheus.db.backends.postgresql import base
from django_prometheus.db.common import ExportingCursorWrapper
from psycopg_pool import ConnectionPool

if TYPE_CHECKING:
    from psycopg import Connection

_exporting = cache(ExportingCursorWrapper)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that counts what is done with it."""

    def get_connection_params(self) -> dict[str, Any]:
        """Return how to connect, as Django does, with cursors that count."""
        parameters: dict[str, Any] = super(base.DatabaseWrapper, self).get_connection_params()
        parameters["cursor_factory"] = _exporting(
            parameters["cursor_factory"], self.alias, self.vendor
        )
        return parameters

    @property
    def pool(self) -> ConnectionPool | None:
        """Return the process's pool, not opened yet at first; None where settings want none."""
        options = self.settings_dict["OPTIONS"].get("pool")
        if self.alias == NO_DB_ALIAS or not options:
            return None
        if self.alias not in self._connection_pools:
            pool = ConnectionPool(
                kwargs={**self.get_connection_params(), "autocommit": True},
                open=False,
                configure=self._configure_connection,
                check=lambda connection: _look(pool, connection),
                **options,
            )
            # Of threads that come here together the first one's pool is everybody's.
            self._connection_pools.setdefault(self.alias, pool)
        known: ConnectionPool = self._connection_pools[self.alias]
        return known


def _look(pool: ConnectionPool, connection: Connection[Any]) -> None:
    """Raise psycopg.Error for a connection that PostgreSQL has closed, and throw out all like it.

    A connection at rest has nothing to read, unless it was closed or PostgreSQL said something
    unasked: only then it is asked. Where one was closed the others were, too, most likely.
    """
    readable = select.poll()  # select.select cannot take the numbers of a gateway's files
    readable.register(connection.fileno(), select.POLLIN)
    if not readable.poll(0):
        return
    try:
        pool.check_connection(connection)
    except Exception:
        pool.check()
        raise

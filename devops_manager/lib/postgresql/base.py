"""The backend of django-prometheus, with one class of cursors, and a pool without dead connections.

Why not theirs: docs/architecture.md.
"""

from __future__ import annotations

import select
from functools import cache
from typing import TYPE_CHECKING, Any

import psycopg
from django.db.backends.base.base import NO_DB_ALIAS
from django_prometheus.db.backends.postgresql import base
from django_prometheus.db.common import ExportingCursorWrapper
from psycopg_pool import ConnectionPool

if TYPE_CHECKING:
    from psycopg import Connection

# A process that was frozen, or whose machine is gone, amid a transaction holds its locks for as
# long: that of admission, without which no task starts.
IDLE_IN_TRANSACTION_SECONDS = 60

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
                configure=self._configure_new,
                check=lambda connection: _look(pool, connection),
                **options,
            )
            # Of threads that come here together the first one's pool is everybody's.
            self._connection_pools.setdefault(self.alias, pool)
        known: ConnectionPool = self._connection_pools[self.alias]
        return known

    def _configure_new(self, connection: Connection[Any]) -> None:
        self._configure_connection(connection)
        connection.execute(
            f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_SECONDS}s'"
        )


def _look(pool: ConnectionPool, connection: Connection[Any]) -> None:
    """Raise psycopg.Error for a connection that PostgreSQL has closed, and renew the whole pool.

    A connection at rest has nothing to read, unless it was closed or PostgreSQL said something
    unasked: only then it is asked. Where one was closed the others were, too, most likely; they are
    not asked, for one that is silent would keep the request waiting.
    """
    readable = select.poll()  # select.select cannot take the numbers of a gateway's files
    readable.register(connection.fileno(), select.POLLIN)
    if not readable.poll(0):
        return
    try:
        pool.check_connection(connection)
    except psycopg.Error:
        pool.drain()
        raise

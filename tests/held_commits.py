"""Transactions that a test stops just before they commit: an interleaving made, not hoped for.

A deferred constraint trigger runs when every statement of a transaction has run. The one that is
made here then waits for an advisory lock that the test holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from tests.gateway_process import database_url

_KEY = 7_251_113
_HOLD = f"""
    CREATE FUNCTION test_hold_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared({_KEY});
        RETURN NULL;
    END $$"""
_TRIGGER = """
    CREATE CONSTRAINT TRIGGER test_hold_commit AFTER INSERT OR UPDATE ON {table}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION test_hold_commit()"""
_BLOCKED = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'"""


class HeldCommits:
    """What may be asked and done while commits are held."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._held = False

    def hold(self) -> None:
        """Stop, from now on, every transaction that wrote to the table, before its commit."""
        self._connection.execute("SELECT pg_advisory_lock(%s)", (_KEY,))
        self._held = True

    def blocked(self) -> int:
        """Return how many sessions of this database wait for a lock, a held commit's included."""
        row = self._connection.execute(_BLOCKED).fetchone()
        assert row is not None
        return int(row[0])

    def release(self) -> None:
        """Let them commit. Harmless twice."""
        if self._held:
            self._connection.execute("SELECT pg_advisory_unlock(%s)", (_KEY,))
            self._held = False


@contextmanager
def held_commits(table: str) -> Iterator[HeldCommits]:
    """Hold the commit of each transaction that writes to ``table``, until ``release``."""
    with psycopg.connect(database_url(), autocommit=True) as connection:
        held = HeldCommits(connection)
        connection.execute(_HOLD)
        try:
            connection.execute(sql.SQL(_TRIGGER).format(table=sql.Identifier(table)))
            held.hold()
            yield held
        finally:
            held.release()
            connection.execute("DROP FUNCTION test_hold_commit() CASCADE")

"""Writes down every change of a row's state, by a trigger, to compare them with states.py."""

from __future__ import annotations

import psycopg

from tasks_app.states import ROW_TRANSITIONS
from tests.gateway_process import database_url

_BEGIN = """
CREATE TABLE seen_transitions (row_id bigint, old text, new text, at timestamptz);
CREATE FUNCTION see_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen_transitions VALUES (NEW.id, OLD.status, NEW.status, clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER see_transition AFTER UPDATE OF status ON commands_hosts FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION see_transition();
"""
_END = """
DROP TRIGGER IF EXISTS see_transition ON commands_hosts;
DROP FUNCTION IF EXISTS see_transition;
DROP TABLE IF EXISTS seen_transitions;
"""


class Transitions:
    """What the rows of a test went through; use as a context manager."""

    def __enter__(self) -> Transitions:
        self._connection = psycopg.connect(database_url(), autocommit=True)
        self._connection.execute(_END)
        self._connection.execute(_BEGIN)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.execute(_END)
        self._connection.close()

    def of(self, row: int) -> list[tuple[str, str]]:
        """Return the changes of one row, in order."""
        found = self._connection.execute(
            "SELECT old, new FROM seen_transitions WHERE row_id = %s ORDER BY at", [row]
        )
        return [(old, new) for old, new in found]

    def all(self) -> set[tuple[str, str]]:
        """Return which changes there were."""
        found = self._connection.execute("SELECT DISTINCT old, new FROM seen_transitions")
        return {(old, new) for old, new in found}

    def illegal(self) -> list[tuple[str, str]]:
        """Return the changes that states.py does not know."""
        return sorted(
            (old, new) for old, new in self.all() if new not in ROW_TRANSITIONS.get(old, ())
        )

"""Loads the set-based SQL, one statement a file, and runs it on Django's connection.

The statements are prepared, which Django's own cursor never does: it writes the values into the
text, and PostgreSQL parses and plans it anew each time. On the hot path that was a third of what a
batch cost. Lists go over as array literals for the same reason.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import Cursor, DataError
from psycopg.rows import namedtuple_row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper


@cache
def statement(directory: Path, name: str) -> str:
    """Return the text of ``directory/name.sql``; read once a process."""
    return (directory / f"{name}.sql").read_text(encoding="utf-8")


def run(directory: Path, name: str, parameters: Mapping[str, Any]) -> list[Any]:
    """Run one statement in the current transaction and return its rows as named tuples.

    ``parameters`` fill the statement's ``%(name)s`` places; the place of a list says its type, as
    in ``%(hosts)s::bigint []``. Returns an empty list for a statement without a result. Raises
    ``django.db.Error`` subclasses.
    """
    django = connections[DEFAULT_DB_ALIAS]
    django.ensure_connection()
    with django.wrap_database_errors, _cursor(django) as cursor:
        return _rows(_execute(django, cursor, statement(directory, name), _given(parameters)))


def run_together(
    directory: Path, calls: Sequence[tuple[str, Mapping[str, Any]]], *, commit: bool = False
) -> list[list[Any]]:
    """Run statements one after another, sent in one go; return the rows of each, as ``run`` does.

    Each sees what those before it did, and what they waited for. When one fails, those after it
    are not run, and its error is raised. With ``commit`` the transaction's end goes with them, and
    nothing may follow in it.
    """
    if not calls:
        return []
    django = connections[DEFAULT_DB_ALIAS]
    django.ensure_connection()
    with django.wrap_database_errors:
        assert django.connection is not None
        # All of it before the first is sent: PostgreSQL need not wait for what follows.
        given = [_given(parameters) for _, parameters in calls]
        with django.connection.pipeline():
            cursors = [
                _execute(django, _cursor(django), statement(directory, name), parameters)
                for (name, _), parameters in zip(calls, given, strict=True)
            ]
            if commit:
                django.connection.execute("COMMIT")
        return [_rows(cursor) for cursor in cursors]


def _cursor(django: BaseDatabaseWrapper) -> Cursor[Any]:
    return Cursor(django.connection, row_factory=namedtuple_row)


def _execute(
    django: BaseDatabaseWrapper,
    cursor: Cursor[Any],
    text: str,
    given: Mapping[str, Any],
) -> Cursor[Any]:
    if django.queries_logged:  # as Django's own cursor does, for who counts statements
        django.queries_log.append({"sql": text, "time": ""})
    return cursor.execute(text, given, prepare=True)


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: array_literal(value) if isinstance(value, list) else value
        for key, value in parameters.items()
    }


def _rows(cursor: Cursor[Any]) -> list[Any]:
    return cursor.fetchall() if cursor.description else []


def array_literal(values: Sequence[Any]) -> str:
    """Return a list as PostgreSQL writes an array. None becomes NULL.

    All values are of one kind: numbers, strings, bytes, truth values, times or UUIDs. Raises
    TypeError for others, and psycopg.DataError for a string that PostgreSQL cannot store.
    """
    given = [value for value in values if value is not None]
    if not given:
        return "{" + ",".join(["NULL"] * len(values)) + "}"
    write = next((write for kind, write in _WRITERS if isinstance(given[0], kind)), None)
    if write is None:
        raise TypeError(f"no array of {type(given[0]).__name__}")
    written = write(given)
    if len(given) < len(values):
        each = iter(written)
        written = ["NULL" if value is None else next(each) for value in values]
    return "{" + ",".join(written) + "}"


def _quoted(values: list[str]) -> list[str]:
    together = "".join(values)
    if "\0" in together:
        raise DataError("PostgreSQL text cannot contain NUL (0x00) bytes")
    if "\\" in together or '"' in together:
        values = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return [f'"{value}"' for value in values]


# A list at a time: most lists are long, and a call for each value is what they would cost.
_WRITERS: tuple[tuple[type | tuple[type, ...], Callable[[list[Any]], list[str]]], ...] = (
    ((int, float), lambda values: list(map(repr, values))),  # bool too
    (UUID, lambda values: [f"{value.int:032x}" for value in values]),
    (str, _quoted),
    (bytes, lambda values: [f'"\\\\x{value.hex()}"' for value in values]),
    (datetime, lambda values: [f'"{value.isoformat()}"' for value in values]),
)

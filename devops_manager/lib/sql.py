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

from django.db import connection
from psycopg import Cursor, DataError
from psycopg.rows import namedtuple_row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


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
    text = statement(directory, name)
    connection.ensure_connection()
    if connection.queries_logged:  # as Django's own cursor does, for who counts statements
        connection.queries_log.append({"sql": text, "time": ""})
    with (
        connection.wrap_database_errors,
        Cursor(connection.connection, row_factory=namedtuple_row) as cursor,
    ):
        given = {
            key: array_literal(value) if isinstance(value, list) else value
            for key, value in parameters.items()
        }
        cursor.execute(text, given, prepare=True)
        return cursor.fetchall() if cursor.description else []


def array_literal(values: Sequence[Any]) -> str:
    """Return a list as PostgreSQL writes an array. None becomes NULL.

    All values are of one kind: numbers, strings, bytes, truth values, times or UUIDs. Raises
    TypeError for others, and psycopg.DataError for a string that PostgreSQL cannot store.
    """
    first = next((value for value in values if value is not None), None)
    if first is None:
        return "{" + ",".join(["NULL"] * len(values)) + "}"
    write = next((write for kind, write in _WRITERS if isinstance(first, kind)), None)
    if write is None:
        raise TypeError(f"no array of {type(first).__name__}")
    return "{" + ",".join(["NULL" if value is None else write(value) for value in values]) + "}"


def _quoted(value: str) -> str:
    if "\0" in value:
        raise DataError("PostgreSQL text cannot contain NUL (0x00) bytes")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


_WRITERS: tuple[tuple[type | tuple[type, ...], Callable[[Any], str]], ...] = (
    (bool, str),
    ((int, float), repr),
    (UUID, lambda value: value.hex),
    (str, _quoted),
    (bytes, lambda value: f'"\\\\x{value.hex()}"'),
    (datetime, lambda value: f'"{value.isoformat()}"'),
)

"""Loads the set-based SQL, one statement a file, and runs it on Django's connection."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from django.db import connection
from psycopg.rows import namedtuple_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Cursor


@cache
def statement(directory: Path, name: str) -> str:
    """Return the text of ``directory/name.sql``; read once a process."""
    return (directory / f"{name}.sql").read_text(encoding="utf-8")


def run(directory: Path, name: str, parameters: Mapping[str, Any]) -> list[Any]:
    """Run one statement in the current transaction and return its rows as named tuples.

    ``parameters`` fill the statement's ``%(name)s`` places. Returns an empty list for a statement
    without a result. Raises ``django.db.Error`` subclasses.
    """
    with connection.cursor() as cursor:
        raw = cast("Cursor[Any]", cursor.cursor)
        raw.row_factory = namedtuple_row
        cursor.execute(statement(directory, name), parameters)
        return raw.fetchall() if cursor.description else []

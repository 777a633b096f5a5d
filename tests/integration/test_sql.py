"""Statements from files: arrays as PostgreSQL reads them, and several sent in one go."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.db import DataError, OperationalError, connection, transaction
from prometheus_client import REGISTRY

from devops_manager.lib import sql

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.django_db

ONE = uuid.UUID("019a0000-0000-7000-8000-00000000000a")


@pytest.fixture
def statements(tmp_path: Path) -> Path:
    texts = {
        "make": "CREATE TEMPORARY TABLE seen (n int) ON COMMIT DROP",
        "add": "INSERT INTO seen VALUES (%(n)s)",
        "count": "SELECT count(*)::int AS n, %(label)s::text AS label FROM seen",
        "fail": "SELECT 1 / %(n)s::int AS n",
        "deadlock": "DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.sql").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bigint", [1, -2, None, 2**62]),
        ("float8", [0.5, None]),
        ("boolean", [True, None, False]),
        ("text", ["", "plain", None, 'a "quote"', "back\\slash", "{a,b}", "NULL", "中文\n\t"]),
        ("text", ["plain", "and no more"]),
        ("bytea", [b"", b"\x00\xff\\", None]),
        ("uuid", [ONE, None, uuid.UUID(int=0)]),
        ("timestamptz", [datetime(2026, 11, 24, 12, tzinfo=UTC), None]),
        ("text", [None, None]),
        ("text", []),
    ],
)
def test_a_list_arrives_as_it_was_given(tmp_path: Path, kind: str, values: list[Any]) -> None:
    text = f"SELECT value FROM unnest(%(values)s::{kind} []) AS given (value)"
    (tmp_path / "given.sql").write_text(text, encoding="utf-8")
    found = [row.value for row in sql.run(tmp_path, "given", {"values": values})]
    assert [bytes(value) if kind == "bytea" and value else value for value in found] == values


def test_what_is_no_text_or_no_list_of_one_kind_is_refused() -> None:
    with pytest.raises(psycopg.DataError):
        sql.array_literal(["good", "with \0"])
    with pytest.raises(TypeError):
        sql.array_literal([{}])


def test_statements_sent_in_one_go_run_in_their_order(statements: Path) -> None:
    found = sql.run_together(
        statements,
        [
            ("make", {}),
            ("count", {"label": "before"}),
            ("add", {"n": 1}),
            ("count", {"label": "after"}),
        ],
    )
    assert [list(map(tuple, rows)) for rows in found] == [[], [(0, "before")], [], [(1, "after")]]
    assert sql.run_together(statements, []) == []


def test_the_error_is_that_of_the_statement_which_failed_and_those_after_it_are_not_run(
    statements: Path,
) -> None:
    sql.run(statements, "make", {})
    with pytest.raises(DataError, match="division by zero"), transaction.atomic():
        sql.run_together(statements, [("add", {"n": 1}), ("fail", {"n": 0}), ("add", {"n": 2})])
    # the connection serves on, and nothing was kept
    assert [row.n for row in sql.run(statements, "count", {"label": ""})] == [0]


def test_a_deadlock_is_told_as_one(statements: Path) -> None:
    with pytest.raises(OperationalError) as caught, transaction.atomic():
        sql.run_together(statements, [("deadlock", {}), ("fail", {"n": 1})])
    assert isinstance(caught.value.__cause__, psycopg.errors.DeadlockDetected)


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_breaks_in_the_middle_is_told_as_such(statements: Path) -> None:
    (statements / "end.sql").write_text("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(OperationalError), transaction.atomic():
        sql.run_together(statements, [("end", {}), ("fail", {"n": 1})])
    connection.close()
    assert [row.n for row in sql.run(statements, "fail", {"n": 1})] == [1]


def test_all_connections_share_one_class_of_cursors_that_counts() -> None:
    """A class for each connection would be garbage that only the collector finds."""

    def counted() -> float:
        labels = {"alias": connection.alias, "vendor": connection.vendor}
        return REGISTRY.get_sample_value("django_db_execute_total", labels) or 0.0

    kinds = set()
    for _ in range(2):
        before = counted()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            kinds.add(type(cursor.cursor))
        assert counted() == before + 1
        kinds.add(connection.get_connection_params()["cursor_factory"])
    assert len(kinds) == 1

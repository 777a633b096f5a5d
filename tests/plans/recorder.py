"""Records the plans that PostgreSQL really ran: statement, indexes, rows visited, buffers.

The extension auto_explain sends each plan to the session as a notice, after the statement ran with
the settings and parameters that the product gave it. So nothing here repeats a statement, and a
plan for a prepared statement would be seen as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from psycopg.errors import Diagnostic

STATEMENTS = Path(settings.BASE_DIR) / "tasks_app" / "sql"
# Grow with the work that was ever done; what is read of them must not.
LARGE = ("commands_hosts", "commands", "tasks", "task_windows", "command_host_attempts")
LARGE_PREFIXES = ("command_outputs",)

_ON = (
    "LOAD 'auto_explain'",
    "SET auto_explain.log_min_duration = 0",
    "SET auto_explain.log_format = 'json'",
    "SET auto_explain.log_level = 'notice'",
    "SET auto_explain.log_analyze = on",
    "SET auto_explain.log_buffers = on",
    "SET auto_explain.log_timing = off",
    "SET client_min_messages = 'notice'",
)
_OFF = ("RESET auto_explain.log_min_duration", "RESET client_min_messages")
_PARAMETER = re.compile(r"%\(\w+\)s")
_DAY = re.compile(r"_(\d{8}|default)(?=_|$)")
_REMOVED = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
_SCANS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Tid Scan")


@dataclass(frozen=True)
class Plan:
    """One executed statement: the name of its file, or an empty text, and what it did."""

    name: str
    text: str
    root: dict[str, Any]

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Go through all nodes, the root first."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.get("Plans", ())))

    def sequential_scans(self) -> list[str]:
        """Return the large tables that were read from their beginning.

        A day's partition that is known to be empty may be.
        """
        return [
            node["Relation Name"]
            for node in self.nodes()
            if node["Node Type"] == "Seq Scan"
            and is_large(node["Relation Name"])
            and (_visited(node) or not node["Relation Name"].startswith(LARGE_PREFIXES))
        ]

    def indexes(self) -> set[str]:
        """Return the indexes that were read; one of a day's partition without the day."""
        return {_DAY.sub("", node["Index Name"]) for node in self.nodes() if "Index Name" in node}

    def whole_indexes(self) -> set[str]:
        """Return the indexes that were read without a condition, from their beginning.

        Not those of partitions that execution left out: they were planned, and not read.
        """
        return {
            node["Index Name"]
            for node in self.nodes()
            if "Index Name" in node and "Index Cond" not in node and node["Actual Loops"]
        }

    @property
    def visited(self) -> int:
        """Rows of large tables that were looked at, also those that did not match."""
        return sum(self.visited_of(table) for table in self.tables() if is_large(table))

    def tables(self) -> set[str]:
        """Return the tables that were read."""
        return {node["Relation Name"] for node in self.nodes() if "Relation Name" in node}

    def visited_of(self, table: str) -> int:
        """Return how many rows of one table were looked at."""
        return round(
            sum(
                _visited(node)
                for node in self.nodes()
                if node["Node Type"] in _SCANS and node.get("Relation Name") == table
            )
        )

    @property
    def buffers(self) -> int:
        """Pages of 8 KiB that were looked at, each time counted."""
        return int(self.root["Shared Hit Blocks"]) + int(self.root["Shared Read Blocks"])

    def __str__(self) -> str:
        lines = [f"{self.name or self.text}: {self.visited} rows, {self.buffers} pages"]
        for node in self.nodes():
            parts = (node["Node Type"], node.get("Relation Name", ""), node.get("Index Name", ""))
            counts = f"rows={node['Actual Rows']:g} loops={node['Actual Loops']:g}"
            removed = sum(node.get(name, 0) for name in _REMOVED)
            lines.append(f"    {' '.join(filter(None, parts))} {counts} removed={removed:g}")
        return "\n".join(lines)


def _visited(node: dict[str, Any]) -> float:
    rows = node["Actual Rows"] + sum(node.get(name, 0) for name in _REMOVED)
    return float(rows * node["Actual Loops"])


def is_large(table: str) -> bool:
    """Tell whether a table grows with the work that was ever done."""
    return table in LARGE or table.startswith(LARGE_PREFIXES)


class Recorder:
    """Collects the plans of all statements of Django's connection inside a ``with`` block."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self._connection: Any = None

    def __enter__(self) -> Recorder:
        with connection.cursor() as cursor:
            for statement in _ON:
                cursor.execute(statement)
        self._connection = connection.connection
        self._connection.add_notice_handler(self._hear)
        return self

    def __exit__(self, *_error: object) -> None:
        assert connection.connection is self._connection, "another connection was not listened to"
        self._connection.remove_notice_handler(self._hear)
        with connection.cursor() as cursor:
            for statement in _OFF:
                cursor.execute(statement)

    def _hear(self, diagnostic: Diagnostic) -> None:
        message = diagnostic.message_primary or ""
        if "plan:" in message:
            found = json.loads(message[message.index("{") :])
            text = _plain(found["Query Text"])
            self.plans.append(Plan(_name_of(text), text[:300], found["Plan"]))


def _plain(text: str) -> str:
    """Return a statement without comments and line breaks."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return " ".join(" ".join(lines).split())


@cache
def _ends() -> dict[str, tuple[str, str]]:
    """Return each statement's name → its text before the first and after the last parameter."""
    found = {}
    for path in sorted(STATEMENTS.glob("*.sql")):
        pieces = _PARAMETER.split(_plain(path.read_text(encoding="utf-8")).rstrip(";"))
        found[path.stem] = (pieces[0], pieces[-1] if len(pieces) > 1 else "")
    return found


def _name_of(text: str) -> str:
    fitting = [
        (len(first), name)
        for name, (first, last) in _ends().items()
        if text.startswith(first) and text.rstrip(";").endswith(last)
    ]
    return max(fitting)[1] if fitting else ""


@cache
def named_indexes(name: str) -> frozenset[str]:
    """Return the words of a statement's ``Index:`` comment; among them are the indexes."""
    words: list[str] = []
    reading = False
    for line in (STATEMENTS / f"{name}.sql").read_text(encoding="utf-8").splitlines():
        if not line.startswith("--"):
            break
        heading = re.match(r"-- (\w+):", line)
        if heading:
            reading = heading[1] == "Index"
        if reading:
            words += re.findall(r"\w+", line)
    return frozenset(words)

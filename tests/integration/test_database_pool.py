"""What the pool of connections gives out after PostgreSQL has closed some of them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from psycopg_pool import ConnectionPool

from devops_manager.lib.postgresql.base import DatabaseWrapper
from tests.gateway_process import database_url

pytestmark = pytest.mark.django_db(transaction=True)

SIZE = 6


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectionPool]:
    """The pool of a process whose SIZE connections have all been used; it may not wait.

    psycopg's pool sleeps for a second, then two, from one dead connection to the next.
    """
    monkeypatch.setattr("psycopg_pool.pool.sleep", not_for_long)
    options = {**connection.settings_dict["OPTIONS"], "pool": {"min_size": 0, "max_size": SIZE}}
    wrapper = DatabaseWrapper({**connection.settings_dict, "OPTIONS": options}, alias="another")
    assert wrapper.pool is not None
    wrapper.pool.open()
    try:
        yield wrapper.pool
    finally:
        wrapper.close_pool()


def not_for_long(seconds: float) -> None:
    assert seconds == 0


def backends(pool: ConnectionPool) -> set[int]:
    """Ask all of the pool's connections at once who serves them."""
    barrier = threading.Barrier(SIZE)

    def ask() -> int:
        with pool.connection(timeout=5) as taken:
            barrier.wait(10)
            (pid,) = taken.execute("SELECT pg_backend_pid()").fetchone() or (0,)
            return int(pid)

    with ThreadPoolExecutor(SIZE) as threads:
        return {asked.result() for asked in [threads.submit(ask) for _ in range(SIZE)]}


def end(pids: set[int]) -> None:
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s) AS pid", [list(pids)])


def test_connections_that_were_closed_are_not_given_out(pool: ConnectionPool) -> None:
    before = backends(pool)
    assert len(before) == SIZE
    end(before)
    with pool.connection(timeout=5) as taken:
        taken.execute("SELECT 1")
    assert not backends(pool) & before


def test_many_who_ask_at_once_are_all_served(pool: ConnectionPool) -> None:
    before = backends(pool)
    end(before)
    assert not backends(pool) & before


def test_a_silent_connection_does_not_keep_who_meets_a_dead_one(pool: ConnectionPool) -> None:
    before = backends(pool)
    dead, *silent = sorted(before)
    for pid in silent:
        assert b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes(), "PostgreSQL is not here"
        os.kill(pid, signal.SIGSTOP)
    try:
        end({dead})
        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(until_another, pool, before)
            assert asked.result(timeout=5) not in before
    finally:
        for pid in silent:
            os.kill(pid, signal.SIGCONT)


def until_another(pool: ConnectionPool, before: set[int]) -> int:
    """Take connections, without asking the silent ones anything, until one is new."""
    taken = []
    try:
        while True:
            taken.append(pool.getconn(timeout=5))
            if taken[-1].info.backend_pid not in before:
                return taken[-1].info.backend_pid
    finally:
        for one in taken:
            pool.putconn(one)


def test_a_process_that_stands_still_holds_its_locks_for_a_minute(pool: ConnectionPool) -> None:
    with pool.connection() as taken:
        (limit,) = taken.execute("SHOW idle_in_transaction_session_timeout").fetchone() or ("",)
    assert limit == "1min"


def test_what_postgresql_says_unasked_closes_nothing(pool: ConnectionPool) -> None:
    before = backends(pool)
    held = [pool.getconn() for _ in range(SIZE)]
    for one in held:
        one.execute("LISTEN news")
        pool.putconn(one)
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("NOTIFY news")
    assert backends(pool) == before

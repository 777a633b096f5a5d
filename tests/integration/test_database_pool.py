"""What the pool of connections gives out after PostgreSQL has closed some of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.db import connection
from psycopg_pool import ConnectionPool

from devops_manager.lib.postgresql.base import DatabaseWrapper
from tests.gateway_process import database_url

pytestmark = pytest.mark.django_db(transaction=True)

SIZE = 6
# A pool that waits between one dead connection and the next takes a second and then two.
AT_ONCE_SECONDS = 0.9


@pytest.fixture
def pool() -> Iterator[ConnectionPool]:
    """The pool of a process whose SIZE connections have all been used."""
    options = {**connection.settings_dict["OPTIONS"], "pool": {"min_size": 0, "max_size": SIZE}}
    wrapper = DatabaseWrapper({**connection.settings_dict, "OPTIONS": options}, alias="another")
    assert wrapper.pool is not None
    wrapper.pool.open()
    try:
        yield wrapper.pool
    finally:
        wrapper.close_pool()


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
    began = time.monotonic()
    with pool.connection(timeout=5) as taken:
        taken.execute("SELECT 1")
    assert time.monotonic() - began < AT_ONCE_SECONDS
    assert not backends(pool) & before


def test_many_who_ask_at_once_are_all_served(pool: ConnectionPool) -> None:
    before = backends(pool)
    end(before)
    began = time.monotonic()
    assert not backends(pool) & before
    assert time.monotonic() - began < 2 * AT_ONCE_SECONDS


def test_those_that_live_are_kept(pool: ConnectionPool) -> None:
    before = backends(pool)
    ended = set(sorted(before)[: SIZE // 2])
    end(ended)
    assert backends(pool) & before == before - ended


def test_what_postgresql_says_unasked_closes_nothing(pool: ConnectionPool) -> None:
    before = backends(pool)
    held = [pool.getconn() for _ in range(SIZE)]
    for one in held:
        one.execute("LISTEN news")
        pool.putconn(one)
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("NOTIFY news")
    assert backends(pool) == before

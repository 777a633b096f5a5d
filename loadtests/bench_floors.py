"""The floors: the same SQL without us, a bare echo, a bare Redis. Each in the run that uses it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import redis

from devops_manager.embedded.places import PROJECT
from devops_manager.embedded.ports import LOOPBACK, free_port
from devops_manager.standalone.children import Child
from loadtests.bench_sql import Rows, Sql
from loadtests.bench_table import Floor
from loadtests.swarm_agents import REPORT_CONNECTIONS
from loadtests.swarm_connections import Pool
from loadtests.swarm_stack import LOGS, SwarmStack

_PGBENCH_SECONDS = 5
_INSERT = "INSERT INTO bench_floor (text) VALUES ('a line of text, as short as a task''s name');\n"
_THREADS = 4
_CLAIMED_ROWS = 4_000
_BULK_TASKS = 500
_BULK_ROUNDS = 20
_REDIS_ROUNDS = 5_000
_ECHO_BODY = b'{"text":"' + b"x" * 89 + b'"}'


def insert(stack: SwarmStack) -> Floor:
    """One-row INSERTs by 32 clients: pgbench where the installation has it."""
    url = stack.environment["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS bench_floor")
        connection.execute("CREATE TABLE bench_floor (id bigserial PRIMARY KEY, text text)")
        pgbench = Path(psutil.Process(stack.servers.postgres.pid).exe()).with_name("pgbench")
        if pgbench.is_file():
            rate, how = _pgbench(pgbench, url), "pgbench, 32 clients, prepared"
        else:
            rate = _threads(_INSERT, url)
            how = f"psycopg, {_THREADS} threads (this PostgreSQL came without pgbench)"
        connection.execute("DROP TABLE bench_floor")
    return Floor("one-row INSERT", rate, "/s", how)


def _pgbench(program: Path, url: str) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(_INSERT)
        script.flush()
        arguments = ["--no-vacuum", "--protocol=prepared", "--client=32", "--jobs=2"]
        arguments += [f"--time={_PGBENCH_SECONDS}", f"--file={script.name}", url]
        done = subprocess.run(
            [str(program), *arguments], check=True, capture_output=True, text=True
        )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    assert found, done.stdout
    return float(found[1])


def _threads(statement: str, url: str) -> float:
    end = time.perf_counter() + _PGBENCH_SECONDS

    def one(_no: int) -> int:
        count = 0
        with psycopg.connect(url, autocommit=True) as connection:
            while time.perf_counter() < end:
                connection.execute(statement.encode(), prepare=True)
                count += 1
        return count

    with ThreadPoolExecutor(_THREADS) as threads:
        return sum(threads.map(one, range(_THREADS))) / _PGBENCH_SECONDS


def fan_out(rows: Rows) -> Floor:
    """Our own INSERT … SELECT for 10,000 hosts, as one statement."""
    seconds = min(rows.fan_out() for _ in range(3))
    return Floor(
        f"fan-out, INSERT … SELECT of {len(rows.hosts):,} rows",
        seconds * 1e3,
        "ms",
        "psycopg, our SQL, one transaction, best of 3",
        count=len(rows.hosts),
    )


def claim(rows: Rows, batch: int) -> Floor:
    """Our claim: plans pinned, hosts locked, rows claimed."""
    return _rate("claim", rows, batch, Sql.claim)


def report(rows: Rows, batch: int) -> Floor:
    """Our report: tasks locked, results and outputs written, counts moved."""
    return _rate("report", rows, batch, Sql.report)


def _rate(what: str, rows: Rows, batch: int, act: Callable[[Sql, list[int]], None]) -> Floor:
    """Run one act on batches of hosts, one thread for large batches, four for single hosts."""
    rows.fan_out()
    hosts = rows.hosts if batch > 1 else rows.hosts[:_CLAIMED_ROWS]
    if what == "report":
        rows.claim_all(hosts)
    batches = [hosts[at : at + batch] for at in range(0, len(hosts), batch)]
    threads = 1 if batch > 1 else _THREADS
    shares = [batches[no::threads] for no in range(threads)]
    sessions = [Sql(rows) for _ in shares]
    began = time.perf_counter()

    def work(no: int) -> None:
        for share in shares[no]:
            act(sessions[no], share)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    seconds = time.perf_counter() - began
    for session in sessions:
        session.close()
    plural = "s" if threads > 1 else ""
    how = f"psycopg, our SQL, {threads} connection{plural}"
    return Floor(f"{what}, {batch} a statement", len(hosts) / seconds, "rows/s", how)


def bulk(rows: Rows) -> Floor:
    """Our INSERT of 500 tasks with a command each, its JSON made beforehand."""
    texts = [rows.task_list(_BULK_TASKS) for _ in range(_BULK_ROUNDS)]
    session = Sql(rows)
    session.submit(rows.task_list(_BULK_TASKS))  # prepared, pages warm
    seconds = []
    for text in texts:
        began = time.perf_counter()
        session.submit(text)
        seconds.append(time.perf_counter() - began)
    session.close()
    median = sorted(seconds)[len(seconds) // 2]
    return Floor(
        "500 tasks with a command each, one statement",
        median / _BULK_TASKS * 1e6,
        "µs a task",
        "psycopg, our SQL, committed, median of 20",
    )


def redis_get(stack: SwarmStack) -> Floor:
    """A blocking client that gets 4 kB."""
    client = redis.Redis.from_url(stack.environment["REDIS_URL"])
    client.set("bench:floor", os.urandom(4096))
    seconds = []
    for _ in range(_REDIS_ROUNDS):
        began = time.perf_counter()
        client.get("bench:floor")
        seconds.append(time.perf_counter() - began)
    client.delete("bench:floor")
    client.close()
    median = sorted(seconds)[len(seconds) // 2]
    return Floor("Redis GET of 4 kB", median * 1e6, "µs", "redis-py, one blocking client, median")


async def echo(count: int, *, rounds: int = 3) -> Floor:
    """As many 100-byte POSTs at once as there are agents, to a bare ASGI application."""
    child = _echo_child(port := free_port())
    child.start()
    try:
        best = await _echo_rounds(port, count, rounds)
    finally:
        child.stop()
    return Floor(
        "bare ASGI echo of a 100-byte POST",
        count / best,
        "/s",
        f"gunicorn's uvicorn worker, the swarm's client, {count:,} at once, best of {rounds}",
    )


def _echo_child(port: int) -> Child:
    options = ["--no-control-socket", "--workers=1", "-k", "uvicorn_worker.UvicornWorker"]
    options += ["--keep-alive=75", f"--bind={LOOPBACK}:{port}", "loadtests.echo:application"]
    return Child(
        name="echo",
        arguments=[sys.executable, "-m", "gunicorn", *options],
        environment=dict(os.environ),
        log_path=LOGS / "echo.log",
        directory=PROJECT,
    )


async def _echo_rounds(port: int, count: int, rounds: int) -> float:
    """Return the seconds of the fastest round; the first, which opens connections, is left out."""
    errors: list[str] = []
    pool = Pool(LOOPBACK, port, size=REPORT_CONNECTIONS, on_error=errors.append)
    head = b"POST /agent/v1/heartbeat HTTP/1.1\r\nHost: swarm\r\nContent-Type: application/json\r\n"
    request = head + b"Content-Length: %d\r\n\r\n%s" % (len(_ECHO_BODY), _ECHO_BODY)
    seconds = []
    for _ in range(rounds + 1):
        answered: list[int] = []
        done = asyncio.Event()

        def take(
            status: int,
            _body: bytes,
            answered: list[int] = answered,
            done: asyncio.Event = done,
        ) -> None:
            answered.append(status)
            if len(answered) == count:
                done.set()

        began = time.perf_counter()
        for _no in range(count):
            pool.send(request, take)
        await asyncio.wait_for(done.wait(), 60)
        seconds.append(time.perf_counter() - began)
        assert set(answered) == {200}
    pool.close()
    return min(seconds[1:])

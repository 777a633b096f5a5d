"""The private servers: throwaway and kept, their passwords, and what a killed owner leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from devops_manager.embedded import binaries
from devops_manager.embedded.binaries import find_binaries
from devops_manager.embedded.errors import EmbeddedError
from devops_manager.embedded.places import kept_secret, remove_places, servers_place
from devops_manager.embedded.servers import EmbeddedServers, embedded_servers

PROJECT = Path(__file__).resolve().parent.parent.parent

# Owns servers until it is killed; prints their addresses and process ids.
OWNER = """
import sys, time
from pathlib import Path
from devops_manager.embedded.servers import embedded_servers
with embedded_servers(Path(sys.argv[1]), name=sys.argv[2] or None) as servers:
    print(servers.postgres.pid, servers.redis.pid, servers.database_url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def var(tmp_path: Path) -> Iterator[Path]:
    """A clone's var/, in a path with spaces below a directory that only its owner may enter."""
    private = tmp_path / "a private place"
    private.mkdir(mode=0o700)
    yield private / "var"
    remove_places(private / "var")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    var = tmp_path_factory.mktemp("embedded") / "var"
    with embedded_servers(var) as running:
        yield running
    remove_places(var)


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.02)


def start_owner(var: Path, name: str) -> tuple[subprocess.Popen[str], list[int], str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(var), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    assert owner.stdout is not None
    postgres, redis_server, url = owner.stdout.readline().split()
    return owner, [int(postgres), int(redis_server)], url


def kill(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.communicate()


def test_the_cluster_is_utf8_durable_and_sorts_by_code_point(servers: EmbeddedServers) -> None:
    with psycopg.connect(servers.database_url) as connection:
        row = connection.execute(
            "SELECT current_setting('server_encoding'), current_setting('lc_collate', true),"
            " current_setting('synchronous_commit'), current_setting('max_connections'),"
            " (SELECT datcollate FROM pg_database WHERE datname = current_database())"
        ).fetchone()
    assert row is not None
    assert (row[0], row[2], row[3], row[4]) == ("UTF8", "on", "100", "C.UTF-8")


def test_nobody_comes_in_without_the_password(servers: EmbeddedServers) -> None:
    wrong = servers.database_url.replace(":", ":x", 2).replace("x//", "//", 1)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    client = redis.Redis.from_url(servers.redis_url.replace("://:", "://:x"))
    with pytest.raises(redis.AuthenticationError):
        client.ping()
    client.close()


def test_the_passwords_are_in_no_process_list(servers: EmbeddedServers) -> None:
    secrets = [url.split(":")[2].split("@")[0] for url in servers.environment().values()]
    for pid in (servers.postgres.pid, servers.redis.pid):
        process = psutil.Process(pid)
        shown = " ".join(process.cmdline())
        assert not any(secret in shown for secret in secrets)


def test_the_servers_do_not_run_as_root(servers: EmbeddedServers) -> None:
    for pid in (servers.postgres.pid, servers.redis.pid):
        assert psutil.Process(pid).uids().effective != 0


def test_each_server_stops_and_comes_back_at_its_address(servers: EmbeddedServers) -> None:
    before = servers.environment()
    with psycopg.connect(servers.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS marks (id int)")
        connection.execute("INSERT INTO marks VALUES (1)")
    servers.postgres.stop_immediate()
    servers.redis.stop()
    assert not servers.postgres.running
    assert not servers.redis.running
    with pytest.raises(EmbeddedError, match="PostgreSQL is not running"):
        _ = servers.postgres.pid
    servers.postgres.start()
    servers.redis.start()
    assert servers.environment() == before
    with psycopg.connect(servers.database_url) as connection:
        assert connection.execute("SELECT count(*) FROM marks").fetchone() == (1,)


def test_a_frozen_server_stops_all_the_same(servers: EmbeddedServers) -> None:
    os.kill(servers.redis.pid, signal.SIGSTOP)
    servers.redis.stop()
    assert not servers.redis.running
    servers.redis.start()


def test_a_throwaway_leaves_nothing(var: Path) -> None:
    with embedded_servers(var) as servers:
        home = servers.postgres.log_path.parent
        pids = [servers.postgres.pid, servers.redis.pid]
        assert home.is_dir()
    assert not home.exists()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_named_servers_keep_their_data_and_one_owner(var: Path) -> None:
    with embedded_servers(var, name="kept") as servers:
        with psycopg.connect(servers.database_url) as connection:
            connection.execute("CREATE TABLE marks AS SELECT 7 AS id")
        with (
            pytest.raises(EmbeddedError, match="Another process uses"),
            embedded_servers(var, name="kept"),
        ):
            pass
        with pytest.raises(EmbeddedError, match="Another process uses"):
            remove_places(var)
    with (
        embedded_servers(var, name="kept") as servers,
        psycopg.connect(servers.database_url) as connection,
    ):
        assert connection.execute("SELECT id FROM marks").fetchone() == (7,)


def test_servers_die_with_a_killed_owner_and_the_next_run_goes_on(var: Path) -> None:
    owner, pids, url = start_owner(var, "kept")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE marks AS SELECT 7 AS id")
    kill(owner)
    with (  # at once: what is left of the earlier server is waited for
        embedded_servers(var, name="kept") as servers,
        psycopg.connect(servers.database_url) as connection,
    ):
        assert connection.execute("SELECT id FROM marks").fetchone() == (7,)
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_what_a_killed_throwaway_left_is_removed_by_the_next(var: Path) -> None:
    owner, _pids, _url = start_owner(var, "")
    kill(owner)
    with embedded_servers(var) as servers:
        home = servers.postgres.log_path.parent
        assert [path.name for path in home.parent.glob("throwaway-*")] == [home.name]


def test_a_lock_file_with_a_reused_process_id_is_no_obstacle(var: Path) -> None:
    with embedded_servers(var, name="kept") as servers:
        data = servers.postgres.log_path.parent / "postgres" / "data"
    # As after a power cut: the number belongs to another program now (this one).
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n")
    with embedded_servers(var, name="kept") as servers:
        assert servers.postgres.running


def test_an_interrupted_initdb_is_begun_anew(var: Path) -> None:
    with embedded_servers(var, name="kept") as servers:
        directory = servers.postgres.log_path.parent / "postgres"
    shutil.rmtree(directory / "data")
    (directory / "data.unfinished").mkdir()
    (directory / "data.unfinished" / "half").write_text("x")
    with embedded_servers(var, name="kept") as servers:
        assert servers.postgres.running
    assert not (directory / "data.unfinished").exists()


def test_data_of_another_postgresql_is_named(var: Path) -> None:
    with embedded_servers(var, name="kept") as servers:
        data = servers.postgres.log_path.parent / "postgres" / "data"
    (data / "PG_VERSION").write_text("9\n")
    with (
        pytest.raises(EmbeddedError, match=r"made by PostgreSQL 9.*make clean"),
        embedded_servers(var, name="kept"),
    ):
        pass


def test_an_unknown_source_is_refused(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DM_EMBEDDED", "docker")
    with pytest.raises(EmbeddedError, match="must be wheels or system"), embedded_servers(var):
        pass


def test_programs_of_the_machine_serve_as_well(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = servers_place(var)  # where the servers' account can reach them
    software = place / "software"
    software.mkdir()
    found = find_binaries(software=software, copy=True)
    (place / "lib" / "18").mkdir(parents=True)
    (place / "lib" / "18" / "bin").symlink_to(found.postgres.parent)
    (place / "lib" / "9.6" / "bin").mkdir(parents=True)
    monkeypatch.setattr(binaries, "SYSTEM_POSTGRES_ROOT", place / "lib")
    monkeypatch.setenv("DM_EMBEDDED", "system")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EmbeddedError, match="neither redis-server nor valkey-server"):
        find_binaries(software=software, copy=True)
    monkeypatch.setenv("PATH", str(found.redis_server.parent))
    with embedded_servers(var) as servers, psycopg.connect(servers.database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_secret_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    first = kept_secret(path)
    assert len(first) >= 24
    assert kept_secret(path) == first
    assert path.stat().st_mode & 0o777 == 0o600

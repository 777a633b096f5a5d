"""A private PostgreSQL: made with initdb, open to its password on the loopback address only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg

from devops_manager.embedded.binaries import Binaries
from devops_manager.embedded.errors import EmbeddedError
from devops_manager.embedded.language import gettext as _
from devops_manager.embedded.places import give_to, kept_secret, write_private
from devops_manager.embedded.ports import LOOPBACK, free_port
from devops_manager.embedded.process import (
    Account,
    ServerProcess,
    server_environment,
)

USER = "devops_manager"
# The role of the processes, which the migrations make: it owns nothing.
RUN_USER = "devops_manager_run"
DATABASE = "devops_manager"
MAX_CONNECTIONS = 100
START_SECONDS = 60.0
STOP_SECONDS = 30.0
_PORT_ATTEMPTS = 5
_LEFTOVER_SECONDS = 10.0


class PostgresServer:
    """One PostgreSQL cluster in ``home/postgres``; keeps its port over stop and start."""

    def __init__(
        self, *, binaries: Binaries, home: Path, account: Account, throwaway: bool
    ) -> None:
        """Describe the server. ``throwaway`` turns fsync off: for data that no one will miss."""
        self._binaries = binaries
        self._account = account
        self._throwaway = throwaway
        self._directory = home / "postgres"
        self._data = self._directory / "data"
        self._password_path = home / "postgres.password"
        self._port = 0
        self.log_path = home / "postgres.log"
        # Fast shutdown: should the owner be killed, the data is left as after a clean stop.
        self._process = ServerProcess(
            name="PostgreSQL",
            account=account,
            directory=self._directory,
            log_path=self.log_path,
            death_signal=signal.SIGINT,
        )

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the postmaster is there."""
        return self._process.running

    def url(self, database: str = DATABASE) -> str:
        """Return the URL of a database of this server, password included."""
        password = quote(kept_secret(self._password_path), safe="")
        return f"postgresql://{USER}:{password}@{LOOPBACK}:{self._port}/{database}"

    def run_url(self, database: str = DATABASE) -> str:
        """Return the URL as the processes have it, which do not own what they use."""
        kept = self._password_path.with_name("postgres-run.password")
        password = quote(kept_secret(kept), safe="")
        return f"postgresql://{RUN_USER}:{password}@{LOOPBACK}:{self._port}/{database}"

    def start(self) -> None:
        """Make the cluster if there is none, start the server and wait until it answers.

        Raises EmbeddedError with the end of the server's log when it cannot be started.
        """
        give_to(self._directory, self._account)
        if not self._data.is_dir():
            self._make_cluster()
        self._check_version()
        self._end_leftover()
        for attempt in range(_PORT_ATTEMPTS):
            chosen = self._port or free_port()
            try:
                self._launch(chosen)
            except EmbeddedError:
                if self._port or attempt == _PORT_ATTEMPTS - 1 or not _port_was_taken(self):
                    raise
                continue
            self._port = chosen
            break
        self.create_database(DATABASE)

    def stop(self) -> None:
        """Stop in an orderly way, connections or not. Harmless when stopped."""
        self._process.stop(signal.SIGINT, seconds=STOP_SECONDS)

    def stop_immediate(self) -> None:
        """Stop as a crash would: no checkpoint, connections cut; the next start recovers."""
        self._process.stop(signal.SIGQUIT, seconds=STOP_SECONDS)

    def create_database(self, name: str) -> None:
        """Create an empty database unless it exists."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            row = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", [name]
            ).fetchone()
            if row is None:
                identifier = psycopg.sql.Identifier(name)
                connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(identifier))

    def _make_cluster(self) -> None:
        unfinished = self._directory / "data.unfinished"
        if unfinished.exists():  # an earlier initdb was killed
            shutil.rmtree(unfinished)
        secret_path = self._directory / "initdb.password"
        write_private(secret_path, kept_secret(self._password_path), account=self._account)
        arguments = [
            str(self._binaries.initdb),
            f"--pgdata={unfinished}",
            f"--username={USER}",
            f"--pwfile={secret_path}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
        ]
        if self._throwaway:
            arguments.append("--no-sync")
        try:
            made = subprocess.run(
                arguments,
                check=False,
                capture_output=True,
                text=True,
                cwd=self._directory,
                env=server_environment(),
                user=self._account.uid,
                group=self._account.gid,
                extra_groups=self._account.extra_groups,
            )
        finally:
            secret_path.unlink(missing_ok=True)
        if made.returncode != 0:
            raise EmbeddedError(
                _("initdb could not make the database cluster:\n%(output)s")
                % {"output": (made.stdout + made.stderr).strip()}
            )
        unfinished.rename(self._data)

    def _check_version(self) -> None:
        made_by = (self._data / "PG_VERSION").read_text(encoding="ascii").strip()
        shown = subprocess.run(
            [str(self._binaries.postgres), "--version"],
            check=True,
            capture_output=True,
            text=True,
            env=server_environment(),
        ).stdout
        words = shown.split()  # postgres (PostgreSQL) 18.6 (Debian 18.6-1)
        if words[2].split(".")[0] != made_by:
            raise EmbeddedError(
                _(
                    "%(place)s was made by PostgreSQL %(made_by)s, but this is %(version)s. "
                    "Run “make clean” to begin anew, or go back to the other version."
                )
                % {"place": self._data, "made_by": made_by, "version": words[2]}
            )

    def _launch(self, port: int) -> None:
        settings = {
            "port": port,
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",  # their paths would have to be short
            "max_connections": MAX_CONNECTIONS,
            "shared_buffers": "128MB",
            "fsync": "off" if self._throwaway else "on",
            "synchronous_commit": "on",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] ",
            "logging_collector": "off",
        }
        arguments = [str(self._binaries.postgres), "-D", str(self._data)]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        self._process.launch(arguments)
        password = kept_secret(self._password_path)
        self._process.wait_until(
            lambda: _answers(port, password, self._data), seconds=START_SECONDS
        )

    def _end_leftover(self) -> None:
        """End a postmaster that an earlier, killed owner left, and remove its lock file.

        The caller holds the lock of the directory, so nobody else's server can be meant. The kernel
        has told it to stop already; this waits for that and insists if need be.
        """
        lock_file = self._data / "postmaster.pid"
        with suppress(OSError, ValueError, IndexError):
            pid = int(lock_file.read_text(encoding="utf-8").split("\n", 1)[0])
            for how in (None, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                if how is not None and _is_postmaster(pid, self._data):
                    os.kill(pid, how)
                if _gone(pid, self._data, seconds=_LEFTOVER_SECONDS):
                    break
        # Left by a server that is gone; its number may belong to another program by now.
        lock_file.unlink(missing_ok=True)


def _port_was_taken(server: PostgresServer) -> bool:
    text = server.log_path.read_text(encoding="utf-8", errors="replace")[-2000:]
    return "Address already in use" in text


def _answers(port: int, password: str, data: Path) -> bool:
    """Tell whether the server of this data directory answers there, and not anybody's."""
    try:
        with psycopg.connect(
            host=LOOPBACK,
            port=port,
            user=USER,
            password=password,
            dbname="postgres",
            connect_timeout=2,
        ) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
    except psycopg.Error:
        return False
    return row is not None and Path(row[0]).resolve() == data.resolve()


def _is_postmaster(pid: int, data: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return os.fsencode(data) in command.split(b"\0")


def _gone(pid: int, data: Path, *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _is_postmaster(pid, data):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True

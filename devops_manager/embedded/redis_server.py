"""A private Redis (Valkey): in memory only, open to its password on the loopback address only."""

from __future__ import annotations

import secrets
import signal
from pathlib import Path

import redis

from devops_manager.embedded.binaries import Binaries
from devops_manager.embedded.errors import EmbeddedError
from devops_manager.embedded.places import give_to
from devops_manager.embedded.ports import LOOPBACK, free_port
from devops_manager.embedded.process import Account, ServerProcess

DATABASES = 64
START_SECONDS = 20.0
STOP_SECONDS = 10.0
_PORT_ATTEMPTS = 5


class RedisServer:
    """One Redis server; keeps its port and password over stop and start, but no data."""

    def __init__(self, *, binaries: Binaries, home: Path, account: Account) -> None:
        """Describe the server."""
        self._program = binaries.redis_server
        self._account = account
        self._directory = home / "redis"
        self._password = secrets.token_urlsafe(24)
        self._port = 0
        self.log_path = home / "redis.log"
        self._process = ServerProcess(
            name="Redis",
            account=account,
            directory=self._directory,
            log_path=self.log_path,
            death_signal=signal.SIGKILL,
        )

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server is there."""
        return self._process.running

    def url(self, database: int = 0) -> str:
        """Return the URL of a numbered database, password included."""
        return f"redis://:{self._password}@{LOOPBACK}:{self._port}/{database}"

    def start(self) -> None:
        """Start the server, empty, and wait until it answers.

        Raises EmbeddedError with the end of the server's log when it cannot be started.
        """
        give_to(self._directory, self._account)
        for attempt in range(_PORT_ATTEMPTS):
            chosen = self._port or free_port()
            try:
                self._launch(chosen)
            except EmbeddedError:
                if self._port or attempt == _PORT_ATTEMPTS - 1:
                    raise
                continue
            self._port = chosen
            return

    def stop(self) -> None:
        """Stop the server; what it held is gone. Harmless when stopped."""
        self._process.stop(signal.SIGTERM, seconds=STOP_SECONDS)

    def _launch(self, port: int) -> None:
        # Over standard input, so that the password is in no file and in no process list.
        configuration = "\n".join(
            [
                f"bind {LOOPBACK}",
                f"port {port}",
                f"requirepass {self._password}",
                f"databases {DATABASES}",
                'save ""',
                "appendonly no",
                "daemonize no",
                "",
            ]
        )
        self._process.launch([str(self._program), "-"], standard_input=configuration.encode())
        self._process.wait_until(
            lambda: self.running and _answers(port, self._password, self.pid),
            seconds=START_SECONDS,
        )


def _answers(port: int, password: str, pid: int) -> bool:
    """Tell whether the server with this process id answers there, and not anybody's."""
    client = redis.Redis(
        host=LOOPBACK, port=port, password=password, socket_connect_timeout=1, socket_timeout=1
    )
    try:
        return bool(client.info("server")["process_id"] == pid)
    except redis.RedisError:
        return False
    finally:
        client.close()

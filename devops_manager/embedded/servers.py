"""Both servers together: what a first run and the tests start and stop."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from devops_manager.embedded.binaries import find_binaries
from devops_manager.embedded.errors import EmbeddedError
from devops_manager.embedded.places import locked, servers_account, servers_place
from devops_manager.embedded.postgres import PostgresServer
from devops_manager.embedded.redis_server import RedisServer

_THROWAWAY = "throwaway-"


@dataclass(frozen=True)
class EmbeddedServers:
    """The running pair. Fault tests stop and start each by itself; addresses stay the same."""

    postgres: PostgresServer
    redis: RedisServer

    @property
    def database_url(self) -> str:
        """``DATABASE_URL`` for the application's own database."""
        return self.postgres.url()

    @property
    def redis_url(self) -> str:
        """``REDIS_URL`` for database 0."""
        return self.redis.url()

    def environment(self) -> dict[str, str]:
        """Return ``DATABASE_URL`` and ``REDIS_URL`` for a child process's environment."""
        return {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}

    def two_roles(self) -> dict[str, str]:
        """Return the same for processes that own no tables, and the owner's URL for migrations."""
        return self.environment() | {
            "DATABASE_URL": self.postgres.run_url(),
            "DATABASE_OWNER_URL": self.database_url,
        }


@contextmanager
def embedded_servers(var: Path, *, name: str | None = None) -> Iterator[EmbeddedServers]:
    """Run a private PostgreSQL and a private Redis for as long as the ``with`` block lasts.

    ``var`` is the clone's directory for such things. With a ``name`` the PostgreSQL data is kept
    there from run to run, and one run at a time can use it; without, the servers are throwaways,
    any number at a time, their data removed at the end. Redis never keeps anything.
    Call it from the main thread: the servers end with the thread that started them, however that
    ends. Raises EmbeddedError when the servers cannot be had or the name is in use.
    """
    place = servers_place(var)
    home = place / (name or f"{_THROWAWAY}{uuid.uuid4().hex[:12]}")
    with ExitStack() as stack:
        with locked(place / "lock"):  # or a new home could be taken for an abandoned one
            _remove_abandoned(place)
            home.mkdir(exist_ok=True)
            home.chmod(0o711)  # the servers' account passes through; each file has its own mode
            stack.enter_context(locked(home / "lock", blocking=False))
        if name is None:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
        yield stack.enter_context(_running(place, home, throwaway=name is None))


@contextmanager
def _running(place: Path, home: Path, *, throwaway: bool) -> Iterator[EmbeddedServers]:
    account = servers_account()
    software = place / "software"
    software.mkdir(exist_ok=True)
    software.chmod(0o755)
    binaries = find_binaries(software=software, copy=account.uid is not None)
    postgres = PostgresServer(binaries=binaries, home=home, account=account, throwaway=throwaway)
    redis = RedisServer(binaries=binaries, home=home, account=account)
    for log in (postgres.log_path, redis.log_path):
        log.unlink(missing_ok=True)
    try:
        postgres.start()
        redis.start()
        yield EmbeddedServers(postgres=postgres, redis=redis)
    finally:
        redis.stop()
        if throwaway:
            postgres.stop_immediate()
        else:
            postgres.stop()


def _remove_abandoned(place: Path) -> None:
    """Remove what throwaway servers left whose owner was killed: its lock ended with it."""
    for home in place.glob(f"{_THROWAWAY}*"):
        with suppress(EmbeddedError, FileNotFoundError), locked(home / "lock", blocking=False):
            shutil.rmtree(home, ignore_errors=True)

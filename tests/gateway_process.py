"""A real gateway or web process for tests: gunicorn, on the test's database and Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx
from django.conf import settings
from django.db import connection
from pytest_django import DjangoDbBlocker

from devops_manager.embedded.ports import free_port
from devops_manager.embedded.process import die_with_parent

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30.0
STOP_SECONDS = 10.0

# Small, so that nothing in a test takes long; the query for pending work is as good as off, so that
# what is found without it was found by a wake.
DURATIONS = {
    "DM_POLL_HOLD_SECONDS": "8",
    "DM_OFFLINE_AFTER_SECONDS": "20",
    "DM_PENDING_QUERY_SECONDS": "60",
    "DM_INSTANCE_SETTLE_SECONDS": "1",
    "DM_DB_POOL_TIMEOUT_SECONDS": "1",
    "DM_DB_POOL_MAX": "6",
}


def database_url(*, host: str = "", port: int = 0) -> str:
    """Return the URL of the test's own database, by way of ``host:port`` if given."""
    own = connection.settings_dict
    user = quote(own["USER"]) + (f":{quote(own['PASSWORD'])}" if own["PASSWORD"] else "")
    query = urlencode({"host": host or own["HOST"], "port": port or own["PORT"]})
    return f"postgresql://{user}@/{quote(own['NAME'])}?{query}"


def own_wake_channel() -> None:
    """Publish on a channel of this process's own: Redis databases share their channels."""
    settings.DM_WAKE_CHANNEL = f"dm:test:{uuid.uuid4().hex}"


@contextmanager
def serving(
    database: DjangoDbBlocker,
    log_path: Path,
    kind: type[GatewayProcess] | None = None,
    **environment: str,
) -> Iterator[GatewayProcess]:
    """Run a gateway for more than one test: the database may not be asked between them."""
    with database.unblock():
        process = (kind or GatewayProcess)(log_path, **environment)
    process.start()
    try:
        yield process
    finally:
        process.stop()


class GatewayProcess:
    """One gateway; ``environment`` overrides what it gets from the test's settings."""

    service = "gateway"
    own_settings: Mapping[str, str] = DURATIONS
    arguments: tuple[str, ...] = (
        *("-k", "agents_app.gateway.worker.GatewayWorker"),
        "devops_manager.asgi:application",
    )

    def __init__(self, log_path: Path, **environment: str) -> None:
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._instance = uuid.uuid4().hex
        self._environment = {
            **os.environ,
            "DATABASE_URL": database_url(),
            "REDIS_URL": settings.REDIS_URL,
            "DM_WAKE_CHANNEL": settings.DM_WAKE_CHANNEL,
            "DM_LOG_LEVEL": "INFO",
            "DM_GATEWAY_STATE_DIR": str(log_path.parent / "under-way"),
            "DM_INSTANCE": self._instance,
            **self.own_settings,
            **environment,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def start(self) -> GatewayProcess:
        """Start it and wait until it serves."""
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "--no-control-socket", "--workers=1"),
                    *(f"--bind=127.0.0.1:{self.port}", "--graceful-timeout=10"),
                    *("--keep-alive=75", *self.arguments),
                ],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                if self.is_served(httpx.get(f"{self.url}/healthz")):
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.05)
            assert self._process.poll() is None, self.log
        raise AssertionError(f"the process did not start: {self.log}")

    @property
    def healthy(self) -> dict[str, str]:
        """What this very process says at ``/healthz``."""
        return {"status": "ok", "service": self.service, "instance": self._instance}

    def is_served(self, answer: httpx.Response) -> bool:
        """Tell whether an answer of ``/healthz`` is this very process's."""
        return answer.status_code == 200 and answer.json() == self.healthy

    def worker_pid(self) -> int:
        """Return the process id of the worker that serves."""
        (worker,) = self._workers()
        return worker

    def _workers(self) -> list[int]:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def terminate(self) -> None:
        """Ask it to end."""
        assert self._process is not None
        self._process.terminate()

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end and return the exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def go_on(self) -> None:
        """Let a worker go on that stopped itself."""
        os.kill(self.worker_pid(), signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        # Held still, so that it starts no worker between the look at its workers and its end.
        self._process.send_signal(signal.SIGSTOP)
        for worker in self._workers():
            os.kill(worker, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def kill_master(self) -> None:
        """Kill gunicorn, and leave the worker that serves."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it; harmless when it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class WebProcess(GatewayProcess):
    """One web process, with as many connections to the database as people get."""

    service = "web"
    own_settings: Mapping[str, str] = {}
    arguments = (
        *("-k", "devops_manager.web_server.worker.WebWorker", "--threads=8"),
        "devops_manager.wsgi:application",
    )

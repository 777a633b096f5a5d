"""A real web server for tests: gunicorn in a process of its own, on the test's own database."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from django.conf import settings

from devops_manager.embedded.process import die_with_parent
from tests.gateway_process import ROOT, database_url

_START_SECONDS = 40.0
_STOP_SECONDS = 15.0


@contextmanager
def web_process(log_path: Path, *, threads: int = 8, **environment: str) -> Iterator[str]:
    """Serve pages and API until the end; yields the server's URL.

    The port is bound here and handed on, so that no other server can have it.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "--no-control-socket", "--workers=1"),
                    *("-k", "gthread", f"--threads={threads}"),
                    *(f"--bind=fd://{listener.fileno()}", "devops_manager.wsgi:application"),
                ],
                cwd=ROOT,
                env={
                    **os.environ,
                    "DATABASE_URL": database_url(),
                    "REDIS_URL": settings.REDIS_URL,
                    "DM_DB_POOL_MAX": str(threads),
                    **environment,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[listener.fileno()],
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509
            )
    try:
        _wait_ready(url, process, log_path)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(url: str, process: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log_path.read_text(errors="replace")
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"the web server did not start: {log_path.read_text(errors='replace')}")

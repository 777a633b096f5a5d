"""A real web process for tests: gunicorn in a process of its own, on the test's database."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from django.conf import settings

from devops_manager.embedded.ports import free_port
from devops_manager.embedded.process import die_with_parent
from tests.gateway_process import ROOT, START_SECONDS, STOP_SECONDS, database_url

_THREADS = 16


class WebProcess:
    """One web process, as deploy/ starts it; ``environment`` overrides what it gets."""

    def __init__(self, log_path: Path, **environment: str) -> None:
        self._log_path = log_path
        self.port = free_port()
        self._environment = {
            **os.environ,
            "DATABASE_URL": database_url(),
            "REDIS_URL": settings.REDIS_URL,
            "DM_ALLOWED_HOSTS": "*",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> WebProcess:
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "--no-control-socket", "--workers=1"),
                    *("-k", "gthread", f"--threads={_THREADS}", f"--bind=127.0.0.1:{self.port}"),
                    "devops_manager.wsgi:application",
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
                if httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
            assert self._process.poll() is None, self._log_path.read_text()
        raise AssertionError(self._log_path.read_text())

    def __exit__(self, *_error: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(STOP_SECONDS)

    def peak_bytes(self) -> int:
        """Return the most memory that the worker had at one time."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        (worker,) = children.read_text().split()
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

"""A real web process for a while: gunicorn with the product's worker, on the test's database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import gateway_process


class WebProcess(gateway_process.WebProcess):
    """One web process, as deploy/ starts it; ``environment`` overrides what it gets."""

    def __init__(self, log_path: Path, **environment: str) -> None:
        super().__init__(log_path, **{"DM_ALLOWED_HOSTS": "*", **environment})

    def __enter__(self) -> WebProcess:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def peak_bytes(self) -> int:
        """Return the most memory that the worker had at one time."""
        status = Path(f"/proc/{self.worker_pid()}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


@contextmanager
def web_process(log_path: Path, **environment: str) -> Iterator[str]:
    """Serve pages and API until the end; yields the server's URL."""
    with WebProcess(log_path, **environment) as process:
        yield process.url

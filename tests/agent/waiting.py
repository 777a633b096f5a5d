"""Waiting for what only files and the process table show: nothing tells when they change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_until(happened: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Look until the function gives something true, and give that."""
    until = time.monotonic() + seconds
    while not (value := happened()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)
    return value

"""The processes that the agent itself has started and not yet waited for."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from agents_app.agent.processes import child_pids


class ChildRegistry:
    """The processes that the agent started itself, so that reaping orphans leaves them alone."""

    def __init__(self) -> None:
        """Nothing started yet."""
        self._lock = threading.Lock()
        self._pids: set[int] = set()

    @contextlib.contextmanager
    def starting(self) -> Iterator[set[int]]:
        """Hold off reaping until the new pid was added to the set."""
        with self._lock:
            yield self._pids

    def release(self, pid: int) -> None:
        """The process was reaped by who started it."""
        with self._lock:
            self._pids.discard(pid)

    def reap_orphans(self) -> None:
        """Collect ended processes that came to the agent from commands that are over."""
        with self._lock:
            for pid in child_pids("self"):
                if pid not in self._pids:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(pid, os.WNOHANG)

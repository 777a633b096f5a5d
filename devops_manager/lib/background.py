"""One daemon thread for hints: what is worth sending, but never worth waiting for.

Redis may be gone or frozen; a request or a transaction must not wait for it. Hints that do not fit
are dropped: PostgreSQL has the truth and the sweeps find what no message arrived for.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
from typing import TYPE_CHECKING

from django.db import close_old_connections

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_FLUSH_SECONDS = 2.0


class Background:
    """Runs callables in turn in a daemon thread, started at the first one in each process."""

    def __init__(self, name: str, *, capacity: int = 1000) -> None:
        """Keep the thread's name and how many hints may wait."""
        self._name = name
        self._capacity = capacity
        self._lock = threading.Lock()
        self._pid = 0
        self._waiting: queue.Queue[Callable[[], None]] = queue.Queue(capacity)

    def submit(self, hint: Callable[[], None]) -> bool:
        """Run ``hint`` soon; return False, and forget it, when too many wait already."""
        self._start_once()
        try:
            self._waiting.put_nowait(hint)
        except queue.Full:
            logger.warning("%s: too many hints wait, one was dropped", self._name)
            return False
        return True

    def flush(self, timeout_seconds: float = _FLUSH_SECONDS) -> bool:
        """Wait until what was submitted before has run; return False on a time-out."""
        if self._pid != os.getpid():
            return True
        done = threading.Event()
        return self.submit(done.set) and done.wait(timeout_seconds)

    def _start_once(self) -> None:
        # A forked child (gunicorn, Celery) inherits the object but not the thread.
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            self._waiting = queue.Queue(self._capacity)
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
            atexit.register(self.flush)

    def _run(self) -> None:
        while True:
            hint = self._waiting.get()
            try:
                hint()
            except Exception:  # a hint that fails must not end the thread that serves the next
                logger.exception("%s: a hint failed", self._name)
            finally:
                close_old_connections()
